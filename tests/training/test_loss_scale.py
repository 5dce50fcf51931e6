import jax
import jax.numpy as jnp
import pytest

from resnet_jax.training.loss_scale import MAX_SCALE, adjust, initial


def run(scale, finite, *, growth_steps):
    """Returns the state after each step, as rows of scale, good steps and skipped steps."""
    step = jax.jit(lambda state, good: adjust(state, good, growth_steps=growth_steps))
    state, rows = initial(scale), []
    for good in finite:
        state = step(state, jnp.asarray(good))
        rows.append([float(state.scale), int(state.good_steps), int(state.skipped)])
    return rows


def test_it_doubles_after_good_steps_and_halves_at_a_bad_one():
    good, bad = True, False
    assert run(128.0, [good, good, good, good, bad, good, bad, bad, good, good, good], growth_steps=3) == [
        [128, 1, 0],
        [128, 2, 0],
        [256, 0, 0],
        [256, 1, 0],
        [128, 0, 1],  # the count of good steps restarts
        [128, 1, 1],
        [64, 0, 2],
        [32, 0, 3],
        [32, 1, 3],
        [32, 2, 3],
        [64, 0, 3],
    ]


def test_it_stays_between_one_and_its_cap():
    assert run(4.0, [False] * 4, growth_steps=1) == [[2, 0, 1], [1, 0, 2], [1, 0, 3], [1, 0, 4]]
    assert [row[0] for row in run(MAX_SCALE / 2, [True] * 3, growth_steps=1)] == [2.0**24] * 3


def test_a_constant_scale_stays_and_counts_the_bad_steps():
    assert run(128.0, [True] * 3 + [False] * 2 + [True], growth_steps=None) == [
        *[[128, 0, 0]] * 3,
        [128, 0, 1],
        *[[128, 0, 2]] * 2,
    ]


@pytest.mark.parametrize("growth_steps", [None, 1])
@pytest.mark.parametrize("finite", [True, False])
def test_shapes_and_dtypes_do_not_change(growth_steps, finite):
    before = initial(1.0)
    after = adjust(before, jnp.asarray(finite), growth_steps=growth_steps)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == [((), jnp.float32)] + [((), jnp.int32)] * 2
    assert jax.tree.structure(after) == jax.tree.structure(before)
