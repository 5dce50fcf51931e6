import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from resnet_jax.analysis.hlo_collectives import find_collectives
from resnet_jax.data import on_device
from resnet_jax.data.on_device import Mixing, row_keys
from resnet_jax.distributed.mesh import make_mesh, over_batch

COUNT = 2000  # images


@functools.cache
def mix(size=(16, 12), group_size=None, **changes):
    """Mixes images whose pixels are the number of the image; returns numpy arrays."""
    count = COUNT
    options = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "cutmix_share": 0.5, "probability": 1.0} | changes
    images = jnp.broadcast_to(jnp.arange(count, dtype=jnp.float32)[:, None, None, None], (count, *size, 3))
    keys = row_keys(jax.random.key(0), jnp.arange(count))
    mixing = jax.jit(Mixing(**options, group_size=group_size))
    return jax.tree.map(np.asarray, mixing(keys, images, jnp.arange(count)))


@pytest.mark.parametrize("alphas", [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_the_share_is_the_mean_weight_of_the_own_image(alphas):
    mixed = mix(mixup_alpha=alphas[0], cutmix_alpha=alphas[1])
    own = np.arange(COUNT)
    expected = mixed.share * own + (1 - mixed.share) * mixed.partner
    np.testing.assert_allclose(mixed.images.mean(axis=(1, 2, 3)), expected, rtol=1e-4, atol=1e-2)
    assert ((mixed.share >= 0) & (mixed.share <= 1)).all()


def test_each_image_is_the_partner_of_one_other():
    partner = mix(mixup_alpha=0.2).partner
    assert (partner != np.arange(COUNT)).all()
    assert sorted(partner) == list(range(COUNT))


def test_partners_belong_to_the_same_batch_norm_group():
    partner = mix(mixup_alpha=0.2, group_size=16).partner
    np.testing.assert_array_equal(partner // 16, np.arange(COUNT) // 16)
    assert (partner != np.arange(COUNT)).all()


def test_mixup_blends_every_pixel_alike():
    mixed = mix(mixup_alpha=0.2)
    assert np.ptp(mixed.images, axis=(1, 2, 3)).max() < 1e-3
    assert len(np.unique(mixed.share)) > 0.5 * COUNT  # sampled for each image


def test_mixup_shares_are_beta_distributed():
    shares = mix(mixup_alpha=0.2).share
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)).
    assert abs(shares.mean() - 0.5) < 0.04 and abs(shares.var() - 1 / (4 * 1.4)) < 0.015


SLOW_ALPHAS = [pytest.param(alpha, marks=pytest.mark.slow) for alpha in (0.5, 4.0)]


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 100.0, *SLOW_ALPHAS])
def test_samples_of_beta_have_its_distribution(alpha):
    draw = jax.jit(jax.vmap(lambda key: on_device._beta(key, alpha)))
    draws = np.asarray(draw(row_keys(jax.random.key(0), jnp.arange(20_000))))
    assert ((draws >= 0) & (draws <= 1)).all()
    # For small alpha most samples round to 0 or 1: compare these as ties.
    points = np.linspace(0.0, 1.0, 101)[1:-1]
    measured = np.searchsorted(np.sort(draws), points) / len(draws)
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded with probability 0.001.
    assert np.abs(measured - scipy.special.betainc(alpha, alpha, points)).max() < 1.95 / np.sqrt(len(draws))


def test_sampling_needs_no_communication():
    # Rejection sampling would add a collective, to agree on the end of its loop.
    mesh = make_mesh()
    keys = jax.eval_shape(lambda: row_keys(jax.random.key(0), jnp.arange(16)))
    drawn = jax.jit(jax.vmap(lambda key: on_device._beta(key, 0.2)), in_shardings=over_batch(mesh))
    assert find_collectives(drawn.lower(keys).compile().as_text()) == {}


def test_cutmix_shows_a_rectangle_of_the_partner():
    mixed = mix(cutmix_alpha=1.0)
    for number, (image, partner) in enumerate(zip(mixed.images[..., 0], mixed.partner, strict=True)):
        cut = image == partner
        assert (cut | (image == number)).all()
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        assert cut.sum() == len(rows) * len(columns)
        if cut.any():
            assert np.ptp(rows) + 1 == len(rows) and np.ptp(columns) + 1 == len(columns)


def test_cutmix_of_alpha_one_cuts_areas_of_all_sizes():
    cut = 1 - mix(size=(32, 32), cutmix_alpha=1.0).share
    # By simulation: sides of sqrt(u) around uniform centers, clipped at the borders.
    sides = np.sqrt(np.random.default_rng(0).random(200_000))
    centers = np.random.default_rng(1).random((2, 200_000))
    kept = [np.minimum(c + sides / 2, 1) - np.maximum(c - sides / 2, 0) for c in centers]
    assert abs(cut.mean() - np.mean(kept[0] * kept[1])) < 0.025
    assert cut.min() < 0.01 and cut.max() > 0.8


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 20), (0.5, 880, 1120), (1.0, 1980, 2000)])
def test_the_share_of_cutmix(share, low, high):
    mixed = mix(mixup_alpha=1.0, cutmix_alpha=1.0, cutmix_share=share)
    blended = np.array([len(np.unique(image)) == 1 and image[0, 0, 0] % 1 > 0 for image in mixed.images])
    assert low <= COUNT - blended.sum() <= high


def test_an_image_is_mixed_with_the_probability_given():
    mixed = mix(mixup_alpha=1.0, probability=0.25)
    assert 430 <= (mixed.share < 1).sum() <= 570
    np.testing.assert_array_equal(mixed.images[mixed.share == 1][:, 0, 0, 0], np.arange(COUNT)[mixed.share == 1])


def test_nothing_is_mixed_at_probability_zero():
    mixed = mix(mixup_alpha=1.0, cutmix_alpha=1.0, probability=0.0)
    np.testing.assert_array_equal(mixed.images[:, 0, 0, 0], np.arange(COUNT))
    assert (mixed.share == 1).all()


def test_half_precision_is_kept():
    images, keys = jnp.ones((4, 2, 2, 3), jnp.bfloat16), row_keys(jax.random.key(0), jnp.arange(4))
    mixed = jax.eval_shape(Mixing(0.2, 1.0, 0.5, 1.0, None), keys, images, jnp.arange(4))
    assert mixed.images.dtype == jnp.bfloat16
