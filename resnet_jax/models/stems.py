"""Stems: from the image to the first activations, before their norm and the max-pool."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from resnet_jax.errors import UsageError
from resnet_jax.models.layers import convolution

Norm = Callable[..., nn.Module]  # a batch norm but for its name


class SpaceToDepthConv(nn.Module):
    """The 7x7 convolution of stride 2, computed as a 4x4 one of stride 1 on the image folded 2x2 into its channels.

    12 channels fill the matrix units of an accelerator better than 3 do (Ying et al. 2018, Image Classification at
    Supercomputer Scale). The parameter is the 7x7 kernel, so that training is that of 'conv7', and so are checkpoints.

    Attributes:
      features: channels out.
      dtype: of the arithmetic.
      kernel_init: of the 7x7 kernel.
    """

    features: int
    dtype: DTypeLike
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / 2, W / 2, features]. Raises UsageError if a side is odd."""
        kernel = self.param("kernel", self.kernel_init, (7, 7, x.shape[-1], self.features), jnp.float32)
        return jax.lax.conv_general_dilated(
            space_to_depth(x.astype(self.dtype)),
            fold_kernel(kernel).astype(self.dtype),
            window_strides=(1, 1),
            padding=((2, 1), (2, 1)),  # output i of the 7x7 sees rows 2i-3 to 2i+3, which lie in pairs i-2 to i+1
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def space_to_depth(x: jax.Array) -> jax.Array:
    """Folds squares of 2x2 pixels into channels: [B, H, W, C] -> [B, H / 2, W / 2, 4 C] by (row, column, channel).

    Raises:
      UsageError: a side is odd.
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise UsageError(
            f"model.stem='space_to_depth' cannot fold images of {height} x {width} pixels into squares of 2 x 2: "
            "take an even data.image_size, or model.stem=conv7, which is the same function"
        )
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def fold_kernel(kernel: jax.Array) -> jax.Array:
    """A kernel of stride 2 and padding 3 as one of the folded image: [7, 7, C, F] -> [4, 4, 4 C, F], exactly."""
    channels, features = kernel.shape[2:]
    eight = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    return eight.reshape(4, 2, 4, 2, channels, features).transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, -1, features)


def unfold_kernel(folded: jax.Array) -> jax.Array:
    """The inverse of `fold_kernel`: [4, 4, 4 C, F] -> [7, 7, C, F], exactly.

    Raises:
      ValueError: the kernel is that of an 8x8 convolution, as training without the constraint makes it.
    """
    channels, features = folded.shape[2] // 4, folded.shape[3]
    eight = folded.reshape(4, 4, 2, 2, channels, features).transpose(0, 2, 1, 3, 4, 5).reshape(8, 8, channels, features)
    if jnp.any(eight[0]) or jnp.any(eight[:, 0]):
        raise ValueError("the first row or column of the unfolded 8x8 kernel is not zero: no 7x7 kernel is equal to it")
    return eight[1:, 1:]


def _conv7(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """7x7, stride 2 (He et al. 2015)."""
    del norm
    return convolution(features, 7, 2, name="stem_conv", **options)(x)


def _space_to_depth(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """The same function and parameters as 'conv7'."""
    del norm
    return SpaceToDepthConv(features, name="stem_conv", **options)(x)


def _deep(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """Three 3x3, the first of stride 2, the first two half as wide (ResNet-C and -D: He et al. 2019, Bag of Tricks)."""
    for number, stride in ((1, 2), (2, 1)):
        x = convolution(features // 2, 3, stride, name=f"stem_conv{number}", **options)(x)
        x = nn.relu(norm(name=f"stem_bn{number}")(x))
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


def _conv3(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """3x3, stride 1 (He et al. 2015, section 4.2: 32-pixel images)."""
    del norm
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


# The options are the attributes of a convolution: dtype and kernel_init.
STEMS: dict[str, Callable[..., jax.Array]] = {
    "conv7": _conv7,
    "space_to_depth": _space_to_depth,
    "deep": _deep,
    "conv3": _conv3,
}

# Of the 3x3 max-pool of stride 2 that follows all stems but 'conv3'.
POOL_PADDINGS: dict[str, str | tuple[tuple[int, int], ...]] = {
    "torch": ((1, 1), (1, 1)),
    "tf": "SAME",  # an even side is padded at its end alone
}


def max_pool(x: jax.Array, padding: str) -> jax.Array:
    """The largest of 3x3, every other pixel: a side of n becomes ceil(n / 2), with borders as PyTorch's or r1's."""
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=POOL_PADDINGS[padding])
