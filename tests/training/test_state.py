import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.distributed.mesh import replicated
from resnet_jax.experiment.compile import initial_state
from resnet_jax.training.optimizers import leaf_path
from resnet_jax.training.state import abstract_state, parameter_count
from tests.tiny import tiny_config
from tests.training import tiny_runs


@pytest.fixture(scope="module")
def initial():
    return initial_state(tiny_runs.build())


def paths(tree):
    return {leaf_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


def test_the_names_in_a_checkpoint_stay_what_they_are(initial):
    # Renaming one makes every checkpoint written before unreadable.
    block = {"conv1/kernel", "bn1/scale", "bn1/bias", "conv2/kernel", "bn2/scale", "bn2/bias"}
    shortcut = {"shortcut_conv/kernel", "shortcut_bn/scale", "shortcut_bn/bias"}
    expected = {"stem_conv/kernel", "stem_bn/scale", "stem_bn/bias", "head/kernel", "head/bias"}
    for stage in (1, 2, 3):
        expected |= {f"stage{stage}_block1/{name}" for name in block | (shortcut if stage > 1 else set())}
    assert paths(initial.params) == expected
    norms = {path.rsplit("/", 1)[0] for path in expected if path.endswith("scale")}
    assert paths(initial.batch_stats) == {f"{norm}/{name}" for norm in norms for name in ("mean", "var")}


def test_weights_start_as_their_sources_say():
    # He et al. 2015: variance 2 / (k * k * channels out); Goyal et al. 2017: head 0.01, last scale 0.
    init = experiment.build(tiny_config({"model.features": 32})).computation.init
    blocks = ("stage3_block1", "stage1_block1", "head")  # of a network wide enough for statistics of its weights
    params = jax.jit(lambda: {name: init().params[name] for name in blocks})()
    kernel = params["stage3_block1"]["conv1"]["kernel"]
    assert kernel.shape == (3, 3, 64, 128)
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert float(params["head"]["kernel"].std()) == pytest.approx(0.01, rel=0.1)
    assert not params["head"]["bias"].any()
    block = params["stage1_block1"]
    assert not block["bn2"]["scale"].any()
    assert (block["bn1"]["scale"] == 1).all()


def test_everything_starts_at_zero_but_the_weights(initial):
    assert initial.step.dtype == jnp.int32
    assert int(initial.step) == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(initial.opt_state))


def test_the_seed_decides_on_any_number_of_devices(initial):
    def kernel(seed):
        init = tiny_runs.build(1, {"seed": seed}).computation.init
        return np.asarray(jax.jit(lambda: init().params["head"]["kernel"])())

    jax.tree.map(np.testing.assert_array_equal, initial_state(tiny_runs.build(8)), initial)
    assert (kernel(4) != kernel(0)).any()


def test_the_abstract_state_is_the_shape_of_the_real_one(initial):
    built = tiny_runs.build()
    abstract = abstract_state(built.computation.init, replicated(built.computation.mesh))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), abstract) == jax.tree.map(lambda a: (a.shape, a.dtype), initial)
    assert parameter_count(abstract.params) == sum(leaf.size for leaf in jax.tree.leaves(initial.params))
