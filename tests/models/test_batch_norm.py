import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.batch_norm import BatchNorm, group_count, group_statistics, is_trained, unbiased


def batch_norm(*, train=True, group_size=None, dtype=jnp.float32):
    return BatchNorm(train=train, group_size=group_size, momentum=0.9, epsilon=1e-5, dtype=dtype)


def variables(channels):
    rng = np.random.default_rng(1)
    sample = lambda: jnp.asarray(rng.uniform(0.5, 1.5, channels), jnp.float32)  # noqa: E731
    return {"params": {"scale": sample(), "bias": sample()}, "batch_stats": {"mean": sample(), "var": sample()}}


def images(batch, channels=3):
    return jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (batch, 4, 5, channels)), jnp.float32)


@pytest.mark.parametrize("train", [True, False])
def test_one_group_is_flax_batch_norm(train):
    x, given = images(8), variables(3)
    flax = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    expected, expected_stats = flax.apply(given, x, mutable=["batch_stats"])
    got, stats = batch_norm(train=train).apply(given, x, mutable=["batch_stats"])
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_allclose(stats["batch_stats"]["mean"], expected_stats["batch_stats"]["mean"], rtol=1e-5)


@pytest.mark.parametrize(("batch", "group_size"), [(8, None), (8, 2)])
def test_the_running_variance_is_unbiased(batch, group_size):
    # As in torch.nn.BatchNorm2d and in the fused batch norm of r1.
    x, given = images(batch), variables(3)
    _, stats = batch_norm(group_size=group_size).apply(given, x, mutable=["batch_stats"])
    grouped = np.asarray(x, np.float64).reshape(batch // (group_size or batch), -1, 3)
    expected = 0.9 * given["batch_stats"]["var"] + 0.1 * grouped.var(1, ddof=1).mean(0)
    np.testing.assert_allclose(stats["batch_stats"]["var"], expected, rtol=1e-5)


def test_a_norm_that_is_not_trained_uses_and_keeps_its_running_statistics():
    x, given = images(8), variables(3)
    frozen = batch_norm().clone(trained="kernel$|^head/")
    got, stats = frozen.apply(given, x, mutable=["batch_stats"])
    np.testing.assert_array_equal(got, batch_norm(train=False).apply(given, x))
    jax.tree.map(np.testing.assert_array_equal, stats["batch_stats"], given["batch_stats"])


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ("", True),
        ("^head/", False),
        ("kernel$", False),
        ("bias$", True),
        ("^stage4_block1/bn2/", True),
        ("bn2$", False),
    ],
)
def test_a_norm_is_trained_if_its_scale_or_bias_is(trained, expected):
    assert is_trained(("stage4_block1", "bn2"), trained) == expected


def test_a_single_value_has_no_variance_to_correct():
    assert unbiased(jnp.zeros(()), 1) == 0


def test_normalizing_is_one_multiplication_and_one_addition_per_element():
    x, given = images(8), variables(3)
    jaxpr = jax.make_jaxpr(lambda x: batch_norm(train=False).apply(given, x))(x)
    whole = [equation.primitive.name for equation in jaxpr.eqns if equation.outvars[0].aval.shape == x.shape]
    assert [name for name in whole if name in ("mul", "add", "sub", "div")] == ["mul", "add"]


def test_groups_are_consecutive_rows_and_the_running_statistics_take_their_mean():
    x, given = images(12), variables(3)
    got, stats = batch_norm(group_size=4).apply(given, x, mutable=["batch_stats"])
    parts = [batch_norm().apply(given, x[i : i + 4], mutable=["batch_stats"]) for i in (0, 4, 8)]
    np.testing.assert_allclose(got, np.concatenate([part for part, _ in parts]), atol=1e-6)
    mean_of_parts = jax.tree.map(lambda *leaves: sum(leaves) / 3, *[part_stats for _, part_stats in parts])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stats, mean_of_parts)


def test_statistics_of_bfloat16_activations_are_float32():
    x = images(64).astype(jnp.bfloat16)
    got, stats = batch_norm(dtype=jnp.bfloat16).apply(variables(3), x, mutable=["batch_stats"])
    assert got.dtype == jnp.bfloat16
    exact = 0.9 * np.asarray(variables(3)["batch_stats"]["mean"]) + 0.1 * np.asarray(x, np.float64).mean((0, 1, 2))
    np.testing.assert_allclose(stats["batch_stats"]["mean"], exact, rtol=1e-5)


def test_a_large_mean_never_makes_a_negative_variance():
    constants = jnp.linspace(1000.0, 5000.0, 200)
    x = jnp.broadcast_to(constants, (1, 7, 3, 3, 200))
    unclipped = jnp.mean(x**2, (1, 2, 3)) - jnp.mean(x, (1, 2, 3)) ** 2
    assert unclipped.min() < 0  # by rounding
    _, var = group_statistics(x)
    assert var.min() == 0.0


@pytest.mark.parametrize(("batch", "group", "expected"), [(8, None, 1), (8, 128, 1), (128, 128, 1), (1024, 128, 8)])
def test_group_count(batch, group, expected):
    assert group_count(batch, group) == expected


def test_a_group_that_does_not_divide_the_batch_is_an_error():
    with pytest.raises(ValueError, match="groups of 48 images do not divide a batch of 64"):
        group_count(64, 48)
