"""Random changes of single training images on device. Every image has a key of its own."""

import dataclasses
import math

import jax
import jax.numpy as jnp


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
