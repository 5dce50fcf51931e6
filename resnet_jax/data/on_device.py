"""Preprocessing on the devices, inside the compiled step: normalize images; in training, also flip, erase and mix.

Every function is pure. Random functions take one key per image, derived from the step and the row of the global batch
(`row_keys`), so that neither the number of devices nor gradient accumulation changes what happens to an image.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(images: jax.Array, *, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """Computes (images - mean) / std in float32.

    Args:
      images: [B, H, W, 3] uint8, 0 to 255.
      mean: mean of each channel, at the scale of the pixels (0 to 255).
      std: standard deviation of each channel, at the scale of the pixels.
      dtype: dtype of the result.

    Returns:
      [B, H, W, 3] `dtype`.
    """
    scale = 1.0 / jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32)) * scale).astype(dtype)


def standardize_per_image(images: jax.Array, *, dtype: DTypeLike) -> jax.Array:
    """Scales each image to mean 0 and standard deviation 1 over all its values: `tf.image.per_image_standardization`.

    An image of N values is divided by at least 1 / sqrt(N), so that a uniform image becomes 0 instead of NaN.

    Args:
      images: [B, H, W, 3] uint8, 0 to 255.
      dtype: dtype of the result.

    Returns:
      [B, H, W, 3] `dtype`.
    """
    pixels = images.astype(jnp.float32)
    centered = pixels - jnp.mean(pixels, axis=(1, 2, 3), keepdims=True)
    deviation = jnp.sqrt(jnp.mean(jnp.square(centered), axis=(1, 2, 3), keepdims=True))
    return (centered / jnp.maximum(deviation, images[0].size ** -0.5)).astype(dtype)


def row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    """Derives one key per image from the key of the step and the row indices in the global batch: [B] -> [B] keys."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Flips each image horizontally with probability 1/2: [B] keys, [B, H, W, C] of any dtype -> [B, H, W, C]."""
    flip = jax.vmap(jax.random.bernoulli)(keys)[:, None, None, None]
    return jnp.where(flip, images[:, :, ::-1], images)


@dataclasses.dataclass(frozen=True)
class Erasing:
    """Random erasing (Zhong et al. 2017): overwrites a random rectangle in some of the images.

    As in torchvision and timm, the area is uniform, the aspect ratio log-uniform and the position uniform. A
    rectangle higher or wider than the image is clipped to it; torchvision and timm sample another one instead.

    Attributes:
      probability: probability that an image gets an erased rectangle.
      area: range of rectangle area / image area.
      aspect: range of rectangle height / width.
      noise: fill with standard normal noise (timm's 'pixel' mode) instead of 0, the mean of normalized pixels.
    """

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float]
    noise: bool

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """Erases rectangles in normalized images: [B] keys, [B, H, W, C] float -> [B, H, W, C] float."""
        height, width = images.shape[1:3]
        inside = jax.vmap(lambda key: self._rectangle(key, height, width))(keys)[..., None]
        fill = self._noise(keys, images) if self.noise else jnp.zeros((), images.dtype)
        return jnp.where(inside, fill, images)

    def _rectangle(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """Samples the pixels of one image that are erased: [H, W] bool."""
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
        # A new key: the noise must be independent of the rectangle.
        noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(noise_keys)


def _between(uniform: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """Returns a [size] bool mask, True in `length` adjacent elements; `uniform` (0 to 1) selects the first of them."""
    start = jnp.floor(uniform * (size - length + 1))
    index = jnp.arange(size)
    return (index >= start) & (index < start + length)


class Mixed(NamedTuple):
    """Images that are each a blend of two images of possibly different classes."""

    images: jax.Array  # [B, H, W, C] float
    partner: jax.Array  # [B] int32, label of the second image
    share: jax.Array  # [B] float32, mean weight of the first image over all pixels, 0 to 1


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018), cutmix (Yun et al. 2019), or one of the two at random.

    Random numbers are sampled for each image. (The reference implementations sample once for the batch of each device;
    a jitted step knows only the global batch.) Each image is mixed with the previous row of its batch norm group. Where
    a group lies on one device, mixing moves no image to another device.

    Attributes:
      mixup_alpha: in mixup, the weight of the image has the distribution Beta(alpha, alpha); 0: no mixup.
      cutmix_alpha: in cutmix, the share of its area that the image keeps has the distribution Beta(alpha, alpha),
        before the rectangle is clipped at the borders; 0: no cutmix.
      cutmix_share: probability of cutmix, if both are enabled.
      probability: probability that an image is mixed.
      group_size: rows of a batch norm group; None, or more than the batch has: the whole batch is one group.
    """

    mixup_alpha: float
    cutmix_alpha: float
    cutmix_share: float
    probability: float
    group_size: int | None

    def __call__(self, keys: jax.Array, images: jax.Array, labels: jax.Array) -> Mixed:
        """Mixes each normalized image with another one: [B] keys, [B, H, W, C] float images, [B] int labels."""
        own = jax.vmap(lambda key: self._weights(key, *images.shape[1:3]))(keys)
        mixed = images * own[..., None] + self._previous(images) * (1.0 - own[..., None])
        return Mixed(mixed.astype(images.dtype), self._previous(labels), jnp.mean(own, axis=(1, 2)))

    def _weights(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """Samples the weight that an image has in each pixel of its blend with another one: [H, W] float32."""
        mixed_key, choice_key, mixup_key, cutmix_key = jax.random.split(key, 4)
        cut = self._cut(cutmix_key, height, width) if self.cutmix_alpha else jnp.ones((height, width))
        blended = jnp.broadcast_to(_beta(mixup_key, self.mixup_alpha), cut.shape) if self.mixup_alpha else cut
        cutmix_share = self.cutmix_share if self.mixup_alpha and self.cutmix_alpha else float(self.cutmix_alpha > 0)
        weights = jnp.where(jax.random.uniform(choice_key) < cutmix_share, cut, blended)
        return jnp.where(jax.random.uniform(mixed_key) < self.probability, weights, 1.0)

    def _cut(self, key: jax.Array, height: int, width: int) -> jax.Array:
        """Samples the weights of cutmix: [H, W] float32, 0 in a rectangle around a random pixel, 1 outside."""
        share_key, center_key = jax.random.split(key)
        side = jnp.sqrt(1.0 - _beta(share_key, self.cutmix_alpha))
        u_row, u_column = jax.random.uniform(center_key, (2,))
        rows, columns = _around(u_row, side, height), _around(u_column, side, width)
        return 1.0 - (rows[:, None] & columns[None, :]).astype(jnp.float32)

    def _previous(self, rows: jax.Array) -> jax.Array:
        """Returns, for each row, the previous row of its batch norm group; for the first row of a group, its last."""
        size = min(self.group_size or len(rows), len(rows))
        return jnp.roll(rows.reshape(-1, size, *rows.shape[1:]), 1, axis=1).reshape(rows.shape)


def _beta(key: jax.Array, alpha: float) -> jax.Array:
    """Samples Beta(alpha, alpha), alpha > 0, from two uniform numbers.

    If x has Student's t distribution with 2 alpha degrees of freedom, x / sqrt(2 alpha + x^2), scaled from -1..1 to
    0..1, has the distribution Beta(alpha, alpha) (Devroye 1986, IX.3). x is sampled by Bailey 1994, 'Polar generation
    of random variates with the t-distribution'. `jax.random.beta` uses rejection sampling instead: a loop that all
    devices would have to leave together.
    """
    u_radius, u_angle = jax.random.uniform(key, (2,))
    exponent = jnp.log1p(-u_radius) / alpha
    near, far = jnp.exp(exponent), -jnp.expm1(exponent)
    cosine = jnp.cos(2 * jnp.pi * u_angle)
    signed = cosine * jnp.sqrt(far / (near + far * jnp.square(cosine)))
    return jnp.clip(0.5 + 0.5 * signed, 0.0, 1.0)  # rounding can give values slightly outside of 0..1


def _around(uniform: jax.Array, share: jax.Array, size: int) -> jax.Array:
    """Returns a [size] bool mask, True in a fraction `share` of it, centered at the fraction `uniform` of its length.

    Where the True range extends beyond the mask, it is cut off. Its center and ends are rounded to whole pixels as in
    `rand_bbox` of the authors of cutmix.
    """
    half = jnp.floor(size * share).astype(jnp.int32) // 2
    center = jnp.floor(uniform * size).astype(jnp.int32)
    index = jnp.arange(size)
    return (index >= center - half) & (index < center + half)
