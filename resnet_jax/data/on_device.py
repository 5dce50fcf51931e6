"""What happens to a batch on the devices: normalise, flip, erase a rectangle, mix pairs of images."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(images: jax.Array, *, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """Returns (images - mean) / std, computed in float32. [B, H, W, 3] uint8 -> [B, H, W, 3] `dtype`.

    Args:
      images: pixel values 0..255.
      mean: per channel, in the units of the pixels.
      std: per channel, in the units of the pixels.
      dtype: of the result.
    """
    scale = 1.0 / jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32)) * scale).astype(dtype)


def standardize_per_image(images: jax.Array, *, dtype: DTypeLike) -> jax.Array:
    """Gives each image mean 0 and deviation 1 over all its values, as `tf.image.per_image_standardization`.

    An image of N values is divided by at least 1 / sqrt(N): a uniform one becomes 0.

    Args:
      images: [B, H, W, 3] uint8.
      dtype: of the result [B, H, W, 3].
    """
    pixels = images.astype(jnp.float32)
    centred = pixels - jnp.mean(pixels, axis=(1, 2, 3), keepdims=True)
    deviation = jnp.sqrt(jnp.mean(jnp.square(centred), axis=(1, 2, 3), keepdims=True))
    return (centred / jnp.maximum(deviation, images[0].size ** -0.5)).astype(dtype)


def row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    """A key for each row of the global batch, whichever device or part of the batch it is in. [B] -> [B] keys."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2. [B, H, W, C], any dtype."""
    flip = jax.vmap(jax.random.bernoulli)(keys)[:, None, None, None]
    return jnp.where(flip, images[:, :, ::-1], images)


@dataclasses.dataclass(frozen=True)
class Erasing:
    """Random erasing (Zhong et al. 2017): fills a rectangle of some images.

    Area uniform, aspect ratio log-uniform, place uniform, as torchvision's `RandomErasing` and timm's; sides longer
    than the image are cut to it, where those two draw again.

    Attributes:
      probability: that an image loses a rectangle.
      area: smallest and largest share of the image's area.
      aspect: smallest and largest height / width.
      noise: fill with normal noise of deviation 1 (timm's 'pixel' mode); else with 0, the mean of normalised pixels.
    """

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float]
    noise: bool

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """Erases in normalised images. [B] keys, [B, H, W, C] float -> [B, H, W, C]."""
        height, width = images.shape[1:3]
        inside = jax.vmap(lambda key: self._rectangle(key, height, width))(keys)[..., None]
        fill = self._noise(keys, images) if self.noise else jnp.zeros((), images.dtype)
        return jnp.where(inside, fill, images)

    def _rectangle(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """Where one image is erased: [H, W] bool."""
        u_erase, u_area, u_aspect, u_top, u_left = jax.random.uniform(key, (5,))
        area = height * width * (self.area[0] + u_area * (self.area[1] - self.area[0]))
        log_low, log_high = (math.log(bound) for bound in self.aspect)
        aspect = jnp.exp(log_low + u_aspect * (log_high - log_low))
        box_height = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height)
        box_width = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width)
        rows = _between(u_top, box_height, height)
        columns = _between(u_left, box_width, width)
        return (u_erase < self.probability) & rows[:, None] & columns[None, :]

    def _noise(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        # Not the key of the rectangle itself, whose numbers would come again.
        noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(noise_keys)


def _between(uniform: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """Marks `length` neighbours of `size`, at a place that a uniform number chooses. [size] bool."""
    start = jnp.floor(uniform * (size - length + 1))
    index = jnp.arange(size)
    return (index >= start) & (index < start + length)


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
