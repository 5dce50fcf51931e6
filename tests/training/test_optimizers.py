import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resnet_jax.configs import default
from resnet_jax.errors import UsageError
from resnet_jax.experiment.computation import make_model
from resnet_jax.training.optimizers import OPTIMIZERS, create_optimizer, decay_mask, leaf_path
from resnet_jax.training.trainable import train_only
from tests import paths
from tests.training import optimizer_definitions as definitions

R1 = json.loads((paths.GOLDEN / "r1_momentum.json").read_text())  # by golden/r1_training.py
ALL_BUT_BATCH_NORM = "kernel$|head/bias$"  # the parameters that r1 decays
PARAMS = {
    "head": {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))},
    "stage1_block1": {"bn1": {"bias": jnp.ones(2), "scale": jnp.ones(2)}, "conv1": {"kernel": jnp.ones((1, 1, 2, 2))}},
}
RATES = (0.1, 0.2, 0.3, 0.2, 0.1)


def make(name="sgd", **changes):
    options = {"momentum": 0.9, "nesterov": False, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6, "trust": 0.001}
    options |= {"weight_decay": 0.1, "decoupled": False, "decay_pattern": "kernel$", "clip_norm": None, "lr_scales": ()}
    return create_optimizer(name, **{**options, **changes})


def updates(optimizer, params, all_grads, rates):
    """Returns the parameters after each update."""
    state, after = optimizer.init(params), []
    for grads, lr in zip(all_grads, rates, strict=True):
        change, state = optimizer.update(grads, state, params, lr=jnp.float32(lr))
        params = optax.apply_updates(params, change)
        after.append(params)
    return after


def arrays(seed=0):
    """Returns float64 parameters of different norms, and five gradients of decreasing norm."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (3, 2), "other/kernel": (4,), "bias": (2,)}
    params = {name: rng.normal(size=shape) * (number + 1) for number, (name, shape) in enumerate(shapes.items())}
    grads = [{name: rng.normal(size=shape) / (k + 1) for name, shape in shapes.items()} for k in range(5)]
    return params, grads


def float32(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def assert_close(tree, expected, rtol=2e-6):
    for name, leaf in expected.items():
        np.testing.assert_allclose(tree[name], leaf, rtol=rtol, atol=rtol * np.abs(leaf).max(), err_msg=name)


CASES = {
    "sgd": ("sgd", {"nesterov": False, "decoupled": False}, definitions.sgd),
    "sgd, nesterov": ("sgd", {"nesterov": True, "decoupled": False}, definitions.sgd),
    "sgd, decoupled": ("sgd", {"nesterov": False, "decoupled": True}, definitions.sgd),
    "sgd, nesterov, decoupled": ("sgd", {"nesterov": True, "decoupled": True}, definitions.sgd),
    "lars": ("lars", {"nesterov": False, "trust": 0.02}, definitions.lars),
    "lars, nesterov": ("lars", {"nesterov": True, "trust": 0.02}, definitions.lars),
    "lamb": ("lamb", {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3}, definitions.lamb),
    "adamw": ("adamw", {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3}, definitions.adamw),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_five_updates_follow_the_definition(case, weight_decay):
    name, options, define = CASES[case]
    params, grads = arrays()
    expected = {}
    for leaf in params:
        takes = {"momentum": 0.9} if name in ("sgd", "lars") else {}
        decayed = leaf.endswith("kernel")
        steps = [grad[leaf] for grad in grads]
        expected[leaf] = define(params[leaf], steps, RATES, weight_decay, decayed=decayed, **options, **takes)
    after = updates(make(name, weight_decay=weight_decay, **options), float32(params), float32(grads), RATES)
    for step in range(5):
        assert_close(after[step], {leaf: values[step] for leaf, values in expected.items()})


@pytest.mark.parametrize("listed", [False, True], ids=["tuples", "lists"])  # as a config has them, as its JSON has them
@pytest.mark.parametrize("case", CASES)
def test_a_scale_is_another_rate_by_the_definition(case, listed):
    name, options, define = CASES[case]
    params, grads = arrays()
    factors = {"kernel": 1.0, "other/kernel": 10.0, "bias": 0.5}
    expected = {}
    for leaf in params:
        takes = {"momentum": 0.9} if name in ("sgd", "lars") else {}
        rates = [factors[leaf] * lr for lr in RATES]
        steps = [grad[leaf] for grad in grads]
        expected[leaf] = define(params[leaf], steps, rates, 0.01, decayed=leaf.endswith("kernel"), **options, **takes)
    scales = (("^other/", 10.0), ("bias|other", 0.5))  # the first match decides
    scales = [list(pair) for pair in scales] if listed else scales
    optimizer = make(name, weight_decay=0.01, lr_scales=scales, **options)
    after = updates(optimizer, float32(params), float32(grads), RATES)
    for step in range(5):
        assert_close(after[step], {leaf: values[step] for leaf, values in expected.items()}, rtol=5e-6)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (
            ("^head/", 10.0),
            r"lr_scales=\('\^head/', 10.0\) is not a sequence of pairs .* write \(\('\^head/', 10.0\),\)",
        ),
        ((("^head/",),), "is not a sequence of pairs"),
        (((10.0, "^head/"),), "is not a sequence of pairs"),
        ("^head/", "is not a sequence of pairs"),
        (
            (("^head/", 0.0),),
            r"has 0.0 for '\^head/': the factor must be a finite number above 0; to freeze parameters, set config",
        ),
        ((("^head/", -1),), "has -1 for"),
        ((("^head/", float("inf")),), "has inf for"),
        ((("^head/", float("nan")),), "has nan for"),
        ((("^head/", True),), "has True for"),
        ((("^head/", "10"),), "has '10' for"),
        ((("(", 10.0),), r"lr_scales='\(' is not a regular expression"),
        ((("^tail/", 10.0),), r"has '\^tail/', which matches no trained parameter"),
        ((("head", 10.0), ("head/bias", 2.0)), "has 'head/bias', .* or only those that an earlier pattern matches"),
    ],
)
def test_invalid_lr_scales_are_an_error(scales, message):
    with pytest.raises(UsageError, match=message) as error:
        make(lr_scales=scales).init(PARAMS)
    assert "\n" not in str(error.value)


def test_an_lr_scale_of_frozen_parameters_is_an_error():
    optimizer = train_only(make(lr_scales=(("conv1", 10.0),)), "^head/")
    with pytest.raises(UsageError, match="has 'conv1', which matches no trained parameter"):
        optimizer.init(PARAMS)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("rates", [(0.2,) * 5, RATES], ids=["constant", "changing"])
def test_lars_is_that_of_optax(nesterov, rates):
    params, grads = map(float32, arrays())
    theirs = optax.lars(
        lambda count: jnp.asarray(rates)[count],
        weight_decay=0.1,
        weight_decay_mask=lambda tree: decay_mask(tree, "kernel$"),
        trust_ratio_mask=lambda tree: decay_mask(tree, "kernel$"),
        trust_coefficient=0.02,
        nesterov=nesterov,
    )
    state, expected = theirs.init(params), params
    for grad in grads:
        change, state = theirs.update(grad, state, expected)
        expected = optax.apply_updates(expected, change)
    assert_close(updates(make("lars", trust=0.02, nesterov=nesterov), params, grads, rates)[-1], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_zero_weights_and_gradients_do_not_divide_by_zero(name):
    params = {"a_kernel": jnp.zeros(3), "b_kernel": jnp.ones(3)}
    grads = {"a_kernel": jnp.ones(3), "b_kernel": jnp.zeros(3)}
    after = updates(make(name, weight_decay=0.0), params, [grads], [0.5])[0]
    np.testing.assert_allclose(after["a_kernel"], -0.5 * jnp.ones(3), rtol=1e-5)  # as without the trust ratio
    np.testing.assert_array_equal(after["b_kernel"], jnp.ones(3))


@pytest.mark.parametrize("case", R1)
def test_r1s_loss_and_momentum_update_in_tensorflow(case):
    golden = R1[case]
    pattern = "" if case == "cifar10" else ALL_BUT_BATCH_NORM  # r1's CIFAR-10 decays batch norm too
    params = float32({name: jnp.array(value) for name, value in golden["initial"].items()})
    scale = golden["loss_scale"]

    def loss_fn(params, images, labels):
        hidden = images @ params["stem_conv/kernel"] * params["stem_bn/scale"] + params["stem_bn/bias"]
        logits = jax.nn.relu(hidden) @ params["head/kernel"] + params["head/bias"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return scale * loss, loss

    optimizer = make(weight_decay=golden["weight_decay"], decay_pattern=pattern)
    state, mask = optimizer.init(params), decay_mask(params, pattern)
    images, labels = jnp.array(golden["images"], jnp.float32), jnp.array(golden["labels"])
    for step, (lr, expected) in enumerate(zip(golden["rates"], golden["steps"], strict=True)):
        squares = sum(jnp.sum(params[name] ** 2) for name in params if mask[name])
        assert float(golden["weight_decay"] * squares / 2) == pytest.approx(expected["l2_loss"], rel=1e-6)
        grads, loss = jax.grad(loss_fn, has_aux=True)(params, images[step], labels[step])
        assert float(loss) == pytest.approx(expected["cross_entropy"], rel=1e-5)
        grads = jax.tree.map(lambda grad: grad / scale, grads)
        # The decay is the gradient of the L2 loss. Without momentum and at rate 1, the update is minus the gradient.
        plain = make(momentum=0.0, weight_decay=golden["weight_decay"], decay_pattern=pattern)
        change, _ = plain.update(grads, plain.init(params), params, lr=1.0)
        assert_close({name: -leaf for name, leaf in change.items()}, as_arrays(expected["gradient"]), rtol=1e-5)
        change, state = optimizer.update(grads, state, params, lr=lr)
        params = optax.apply_updates(params, change)
        assert_close(params, as_arrays(expected["after"]), rtol=1e-5)


def as_arrays(tree):
    return {name: np.array(value) for name, value in tree.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_is_clipped_before_all_else(name):
    params, grads = map(float32, arrays())
    norms = [float(optax.tree.norm(grad)) for grad in grads]
    longest = sorted(norms)[2]  # two of the five are longer, and clipped
    shortened = [
        jax.tree.map(lambda leaf, norm=norm: leaf * min(1.0, longest / norm), grad)
        for grad, norm in zip(grads, norms, strict=True)
    ]
    clipped = updates(make(name, clip_norm=longest), params, grads, RATES)[-1]
    assert_close(clipped, updates(make(name), params, shortened, RATES)[-1], rtol=1e-6)
    free, loose = make(name), make(name, clip_norm=1e3)
    assert_close(updates(loose, params, grads, RATES)[-1], updates(free, params, grads, RATES)[-1], rtol=1e-7)
    assert np.abs(clipped["bias"] - updates(free, params, grads, RATES)[-1]["bias"]).max() > 1e-3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_decays_the_parameters_of_the_pattern(name):
    # With zero gradients only decay changes a weight, and only where the pattern matches.
    grads = jax.tree.map(jnp.zeros_like, PARAMS)
    for pattern in ("kernel$", ALL_BUT_BATCH_NORM, "conv"):
        after = updates(make(name, decay_pattern=pattern), PARAMS, [grads], [0.5])[0]
        assert jax.tree.map(lambda leaf: bool((leaf < 1).all()), after) == decay_mask(PARAMS, pattern)
        assert jax.tree.map(lambda leaf: bool((leaf == 1).all()), after) != decay_mask(PARAMS, pattern)


def test_the_default_pattern_matches_kernels_only():
    assert decay_mask(PARAMS, "kernel$") == {
        "head": {"bias": False, "kernel": True},
        "stage1_block1": {"bn1": {"bias": False, "scale": False}, "conv1": {"kernel": True}},
    }


@pytest.mark.parametrize(
    ("name", "depth", "version"),
    [("resnet", 18, "v1.5"), ("resnet", 50, "v1"), ("resnet", 50, "v2"), ("resnet_cifar", 20, "v2")],
)
def test_decay_patterns_of_r1_and_of_the_main_recipe_in_real_networks(name, depth, version):
    config = default.get_config()
    config.model.update({"name": name, "depth": depth, "version": version, "zero_init_last_bn": False})
    model = make_model(config, num_classes=10)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))["params"]
    leaves = {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    batch_norm = {path for path in leaves if path.endswith("/scale") or f"{path.rpartition('/')[0]}/scale" in leaves}
    assert 0 < len(batch_norm) < len(leaves)

    def found(pattern):
        mask = jax.tree_util.tree_leaves_with_path(decay_mask(shapes, pattern))
        return {leaf_path(path) for path, is_found in mask if is_found}

    assert found(ALL_BUT_BATCH_NORM) == set(leaves) - batch_norm
    assert found("kernel$") == {path for path, leaf in leaves.items() if leaf.ndim > 1}
    assert found("") == set(leaves)


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "is not a regular expression"), ("weights$", "matches no parameter")]
)
def test_an_invalid_pattern_is_an_error(pattern, message):
    with pytest.raises(UsageError, match=f"config.optimizer.decay_pattern=.* {message}"):
        make(decay_pattern=pattern).init(PARAMS)


def test_the_rate_has_to_be_given():
    optimizer = make()
    with pytest.raises(TypeError, match="lr"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_adam_counts_its_updates(name):
    state = make(name).init(PARAMS)
    assert sum(leaf.size == 1 for leaf in jax.tree.leaves(state)) == (name in ("lamb", "adamw"))


def test_unknown_name():
    with pytest.raises(UsageError, match=r"config.optimizer.name='adam' is not one of sgd, lars, lamb, adamw"):
        make("adam")


def test_decoupled_lars_is_an_error():
    with pytest.raises(UsageError, match=r"config.optimizer.decoupled=True is not supported by 'lars'"):
        make("lars", decoupled=True)
