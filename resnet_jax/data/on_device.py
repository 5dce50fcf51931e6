"""Mixing pairs of training images and their labels: mixup and cutmix, on device."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mixed(NamedTuple):
    """Images that show two classes each."""

    images: jax.Array  # [B, H, W, C]
    partner: jax.Array  # [B] int32, label of the second class
    share: jax.Array  # [B] float32, share of the first


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018), cutmix (Yun et al. 2019) or one of the two at random, for each image anew.

    The references draw once for each device's batch; here every image has a draw of its own, for a global batch of
    thousands would otherwise share one. An image's partner is its neighbour in the run of `group_size` rows that also
    shares batch norm statistics: no image crosses devices for it.

    Attributes:
      mixup_alpha: the share is Beta(alpha, alpha) distributed; 0: no mixup.
      cutmix_alpha: likewise, before the rectangle is cut off at the borders; 0: no cutmix.
      cutmix_share: probability of cutmix where both are on.
      probability: that an image is mixed at all.
      group_size: rows among which partners are found; None, or no fewer than the batch has: the batch.
    """

    mixup_alpha: float
    cutmix_alpha: float
    cutmix_share: float
    probability: float
    group_size: int | None

    def __call__(self, keys: jax.Array, images: jax.Array, labels: jax.Array) -> Mixed:
        """Mixes normalised images. [B] keys, [B, H, W, C] float, [B] int."""
        own = jax.vmap(lambda key: self._weights(key, *images.shape[1:3]))(keys)
        mixed = images * own[..., None] + self._neighbour(images) * (1.0 - own[..., None])
        return Mixed(mixed.astype(images.dtype), self._neighbour(labels), jnp.mean(own, axis=(1, 2)))

    def _weights(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """The weight of one image in each of its pixels: [H, W]."""
        mixed_key, choice_key, mixup_key, cutmix_key = jax.random.split(key, 4)
        cut = self._cut(cutmix_key, height, width) if self.cutmix_alpha else jnp.ones((height, width))
        blended = jnp.broadcast_to(_beta(mixup_key, self.mixup_alpha), cut.shape) if self.mixup_alpha else cut
        cutmix_share = self.cutmix_share if self.mixup_alpha and self.cutmix_alpha else float(self.cutmix_alpha > 0)
        weights = jnp.where(jax.random.uniform(choice_key) < cutmix_share, cut, blended)
        return jnp.where(jax.random.uniform(mixed_key) < self.probability, weights, 1.0)

    def _cut(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """0 in a rectangle around a random pixel, 1 outside: [H, W]."""
        share_key, place_key = jax.random.split(key)
        side = jnp.sqrt(1.0 - _beta(share_key, self.cutmix_alpha))
        u_row, u_column = jax.random.uniform(place_key, (2,))
        rows, columns = _around(u_row, side, height), _around(u_column, side, width)
        return 1.0 - (rows[:, None] & columns[None, :]).astype(jnp.float32)

    def _neighbour(self, rows: jax.Array) -> jax.Array:
        """The row before, in each group; before the first comes the last."""
        size = min(self.group_size or len(rows), len(rows))
        return jnp.roll(rows.reshape(-1, size, *rows.shape[1:]), 1, axis=1).reshape(rows.shape)


def _beta(key: jax.Array, alpha: float) -> jax.Array:
    """A draw of Beta(alpha, alpha), alpha > 0.

    From two uniform numbers, as x / sqrt(2 alpha + x^2), brought to 0..1, of Student's t with 2 alpha degrees of
    freedom: Bailey 1994, 'Polar generation of random variates with the t-distribution'; Devroye 1986, IX.3. Unlike
    `jax.random.beta` it rejects nothing, for which all devices would have to agree, try after try, on when to stop.
    """
    u_radius, u_angle = jax.random.uniform(key, (2,))
    exponent = jnp.log1p(-u_radius) / alpha
    near, far = jnp.exp(exponent), -jnp.expm1(exponent)
    cosine = jnp.cos(2 * jnp.pi * u_angle)
    signed = cosine * jnp.sqrt(far / (near + far * jnp.square(cosine)))
    return jnp.clip(0.5 + 0.5 * signed, 0.0, 1.0)  # rounding may lead past the ends


def _around(uniform: jax.Array, share: jax.Array, size: int) -> jax.Array:
    """Marks the pixels of a side within `share` of its length around a random one, cut off at its ends. [size] bool.

    Centre and ends are whole pixels as in the authors' `rand_bbox`.
    """
    half = jnp.floor(size * share).astype(jnp.int32) // 2
    centre = jnp.floor(uniform * size).astype(jnp.int32)
    index = jnp.arange(size)
    return (index >= centre - half) & (index < centre + half)
