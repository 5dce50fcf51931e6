import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.training.optimizers import leaf_path
from resnet_jax.training.trainable import apply_updates, only_trained, train_only, trainable_pattern, with_frozen
from tests.training.tiny_runs import build, first_state, train_step

HEAD = {"head/kernel", "head/bias"}
MASKED = optax.MaskedNode()
NO_FLIP = {"input.flip": False}


def bits(tree):
    """Returns the bits of each leaf by path, so that -0 and +0 differ."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {leaf_path(key): np.asarray(leaf).view(np.uint32) for key, leaf in leaves}


def changed(tree, other):
    one, other = bits(tree), bits(other)
    return {name for name in one if not np.array_equal(one[name], other[name])}


def after(changes, steps, *, compiler_options=None):
    """Returns the state before and after some steps, and the totals of each step; statistics have random values."""
    changes = NO_FLIP | changes
    built, before, all_totals = build(1, changes), random_statistics(first_state(1, changes)), []
    if compiler_options:
        step = jax.jit(built.computation.train_step, compiler_options=compiler_options)
    else:
        step = train_step(1, changes)
    state = before
    for number in range(steps):
        state, totals = step(state, built.data.train_loader.batch(number).batch)
        all_totals.append(jax.device_get(totals))
    return before, jax.device_get(state), all_totals


def random_statistics(state):
    random = np.random.default_rng(0)
    statistics = jax.tree.map(lambda leaf: random.uniform(0.5, 2.0, leaf.shape).astype(leaf.dtype), state.batch_stats)
    # A negative zero would become +0 if anything were added to a frozen leaf.
    params = state.params | {"stem_bn": {**state.params["stem_bn"], "bias": -np.zeros(4, np.float32)}}
    average = state.average and {"params": params, "batch_stats": statistics}
    return state.replace(params=params, batch_stats=statistics, average=average)


IN_MICROBATCHES = [pytest.param(1, marks=pytest.mark.slow), 3]


@pytest.mark.parametrize("num_microbatches", IN_MICROBATCHES)
def test_the_head_alone_is_trained_and_the_rest_stays_bit_by_bit(num_microbatches):
    changes = {"train.trainable": "head", "train.accumulate": num_microbatches, "ema.decay": 0.9}
    before, state, _ = after(changes | {"data.batch_size": 36}, 20)
    assert changed(before.params, state.params) == HEAD
    assert changed(before.batch_stats, state.batch_stats) == set()
    assert changed(before.average, state.average) == {f"params/{name}" for name in HEAD}


@pytest.mark.slow
@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_without_a_pattern_everything_changes(num_microbatches):
    before, state, _ = after({"train.accumulate": num_microbatches, "ema.decay": 0.9, "data.batch_size": 36}, 20)
    for part in ("params", "batch_stats", "average"):
        assert changed(getattr(before, part), getattr(state, part)) == set(bits(getattr(before, part)))


def test_statistics_change_only_in_trained_norms():
    before, state, _ = after({"train.trainable": "^head/|^stage3_|stage1_block1/bn2/bias"}, 1)
    moved = changed(before.batch_stats, state.batch_stats)
    assert moved == {name for name in bits(before.batch_stats) if name.startswith(("stage3_", "stage1_block1/bn2/"))}
    assert "stage3_block1/shortcut_bn/mean" in moved


AS_IN_A_RUN = {"xla_backend_optimization_level": 3}
PLAIN = {"optimizer.weight_decay": 0.0, "optimizer.nesterov": False}  # so that the first velocity is the gradient


@pytest.mark.slow
def test_the_gradient_norm_counts_trained_parameters_only_and_statistics_may_change():
    # As with r1's --fine_tune: batch norm stays in training mode, so that the forward pass does not change.
    # Two programs are compared bit by bit, so they are compiled as a user's run compiles them (see conftest.py).
    _, whole, (of_all,) = after(PLAIN, 1, compiler_options=AS_IN_A_RUN)
    (gradient,) = (tree for tree in jax.tree.leaves(whole.opt_state, is_leaf=lambda tree: isinstance(tree, dict)))
    length = float(optax.tree.norm(gradient["head"]))
    assert float(of_all.grad_norm) > 1.001 * length
    changes = {"train.trainable": "head", "train.freeze_statistics": False, "optimizer.clip_norm": 0.01}
    before, state, (totals,) = after(PLAIN | changes, 1, compiler_options=AS_IN_A_RUN)
    assert float(totals.grad_norm) == pytest.approx(length, rel=1e-5)
    assert float(optax.tree.norm(state.opt_state)) == pytest.approx(0.01, rel=1e-5)
    assert changed(before.params, state.params) == HEAD
    assert changed(whole.batch_stats, state.batch_stats) == set()
    assert changed(before.batch_stats, state.batch_stats) == set(bits(before.batch_stats))


def flops(trainable):
    """Returns the FLOPs of a step before XLA removes unused operations."""
    built = build(1, {"train.trainable": trainable})
    step = jax.jit(built.computation.train_step).lower(
        jax.eval_shape(built.computation.init), built.data.train_loader.batch(0).batch
    )
    return step.cost_analysis()["flops"]


def test_frozen_parts_cost_no_gradient():
    # The backward pass of a layer costs two forward passes, for the weights and for the input; the first layer has one.
    head, upper, whole = map(flops, ("head", "^head/|^stage3_", None))
    assert head < 0.4 * whole
    assert head < upper < 0.8 * whole


def test_only_trained_parameters_have_a_velocity():
    shapes = [
        leaf.shape
        for leaf in jax.tree.leaves(jax.eval_shape(build(1, {"train.trainable": "head"}).computation.init).opt_state)
    ]
    assert sorted(shapes) == [(10,), (16, 10)]


def test_trained_parameters_need_not_be_decayed():
    state = jax.eval_shape(build(1, {"train.trainable": "bias$|scale$"}).computation.init)
    assert len(jax.tree.leaves(state.opt_state)) < len(jax.tree.leaves(state.params))


@pytest.mark.parametrize("name", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lars", "lamb"))])
def test_no_optimizer_changes_frozen_parameters_and_the_features_are_those_of_evaluation(name):
    changes = {"train.trainable": "head", "optimizer.name": name, "optimizer.clip_norm": 0.1}
    changes |= {"optimizer.lr_scales": (("^head/bias", 2.0),), "loss.label_smoothing": 0.0}
    before, state, totals = after(changes, 2)
    assert changed(before.params, state.params) == HEAD
    computation, batch = build(1, NO_FLIP | changes).computation, build(1, NO_FLIP).data.train_loader.batch(0).batch
    assert float(totals[0].examples.loss) == pytest.approx(
        float(jax.jit(computation.eval_step)(before.variables, batch).loss)
    )


@pytest.mark.parametrize(
    ("pattern", "message"), [("^tail/", "matches no parameter"), ("(", "is not a regular expression")]
)
def test_a_pattern_that_selects_nothing_is_an_error(pattern, message):
    with pytest.raises(UsageError, match=rf"config.train.trainable='.*' .*{message}"):
        build(1, {"train.trainable": pattern})


@pytest.mark.parametrize(("value", "pattern"), [(None, ""), ("all", ""), ("head", "^head/"), ("^stage4_", "^stage4_")])
def test_abbreviations(value, pattern):
    assert trainable_pattern(value) == pattern


def test_frozen_parameters_replace_masked_nodes():
    params = {"head": {"kernel": 1.0, "bias": 2.0}, "stem": {"kernel": 3.0}}
    trained = only_trained(params, "^head/")
    assert trained == {"head": {"kernel": 1.0, "bias": 2.0}, "stem": {"kernel": MASKED}}
    assert only_trained(trained, "^head/") == trained
    assert with_frozen({"head": {"kernel": 4.0, "bias": 5.0}, "stem": {"kernel": MASKED}}, params) == {
        "head": {"kernel": 4.0, "bias": 5.0},
        "stem": {"kernel": 3.0},
    }


def test_train_only_accepts_gradients_of_all_parameters():
    params = {"head": {"kernel": jnp.ones(2)}, "stem": {"kernel": -jnp.zeros(3)}}
    optimizer = train_only(optax.with_extra_args_support(optax.sgd(0.5)), "^head/")
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    new = apply_updates(params, updates)
    np.testing.assert_array_equal(new["head"]["kernel"], [0.5, 0.5])
    assert new["stem"]["kernel"] is params["stem"]["kernel"]


def test_an_empty_pattern_is_an_error():
    with pytest.raises(UsageError, match="config.train.trainable is empty: set it to 'all' or 'head', or to a regular"):
        build(1, {"train.trainable": ""})


def test_all_is_described_like_none():
    assert "trained" not in build(1, {"train.trainable": "all"}).reporting.description
    assert "trained" in build(1, {"train.trainable": "head"}).reporting.description
