"""Stems: the first convolutions of a network, without the batch norm and the max-pool that follow them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from resnet_jax.errors import UsageError
from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.fused_norm_relu import FusedNormRelu
from resnet_jax.models.layers import convolution

Norm = Callable[..., BatchNorm]  # constructor of a batch norm: (name=...)


class SpaceToDepthConv(nn.Module):
    """The 7x7 convolution of stride 2, computed as a 4x4 convolution of stride 1 on the space-to-depth image.

    12 input channels fill the matrix units of an accelerator better than 3 (Ying et al. 2018, Image Classification at
    Supercomputer Scale). The parameter is the 7x7 kernel of stem 'conv7', so that checkpoints of the
    two stems are interchangeable.

    Attributes:
      features: output channels.
      dtype: type of the arithmetic and of the result.
      kernel_init: initializer of the 7x7 kernel.
    """

    features: int
    dtype: DTypeLike
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / 2, W / 2, features]. Raises UsageError if H or W is odd."""
        kernel = self.param("kernel", self.kernel_init, (7, 7, x.shape[-1], self.features), jnp.float32)
        return jax.lax.conv_general_dilated(
            space_to_depth(x.astype(self.dtype)),
            fold_kernel(kernel).astype(self.dtype),
            window_strides=(1, 1),
            padding=((2, 1), (2, 1)),  # output i of the 7x7 kernel reads rows 2i-3 to 2i+3: row pairs i-2 to i+1
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def space_to_depth(x: jax.Array) -> jax.Array:
    """Folds 2x2 pixels into channels: [B, H, W, C] -> [B, H / 2, W / 2, 4 C], ordered by row, column, channel.

    Raises:
      UsageError: H or W is odd.
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise UsageError(
            f"model.stem='space_to_depth' cannot fold images of {height} x {width} pixels into squares of 2 x 2: "
            "take an even data.image_size, or model.stem=conv7, which computes the same function"
        )
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def fold_kernel(kernel: jax.Array) -> jax.Array:
    """Converts a 7x7 kernel of stride 2 and padding 3 to the equivalent 4x4 kernel for the space-to-depth image.

    Args:
      kernel: [7, 7, C, F].

    Returns:
      [4, 4, 4 C, F]: a zero row and a zero column are added before the first ones, and the 2x2 squares of the 8x8
      kernel are folded into channels as `space_to_depth` folds pixels.
    """
    channels, features = kernel.shape[2:]
    eight = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    return eight.reshape(4, 2, 4, 2, channels, features).transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, -1, features)


def unfold_kernel(folded: jax.Array) -> jax.Array:
    """Returns the 7x7 kernel from which `fold_kernel` made `folded`: [4, 4, 4 C, F] -> [7, 7, C, F].

    Raises:
      ValueError: the first row or column of the unfolded 8x8 kernel is not zero. This happens if the folded kernel was
        trained itself.
    """
    channels, features = folded.shape[2] // 4, folded.shape[3]
    eight = folded.reshape(4, 4, 2, 2, channels, features).transpose(0, 2, 1, 3, 4, 5).reshape(8, 8, channels, features)
    if jnp.any(eight[0]) or jnp.any(eight[:, 0]):
        raise ValueError("the first row or column of the unfolded 8x8 kernel is not zero: no 7x7 kernel is equal to it")
    return eight[1:, 1:]


def _conv7(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """Stem of one 7x7 convolution of stride 2 (He et al. 2015)."""
    del norm
    return convolution(features, 7, 2, name="stem_conv", **options)(x)


def _space_to_depth(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """Stem that computes the same function as 'conv7', with the same parameters, by `SpaceToDepthConv`."""
    del norm
    return SpaceToDepthConv(features, name="stem_conv", **options)(x)


def _deep(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """Stem of three 3x3 convolutions, of ResNet-C and ResNet-D (He et al. 2019, Bag of Tricks).

    The first convolution has stride 2. The first two have features / 2 output channels.
    """
    for number, stride in ((1, 2), (2, 1)):
        x = convolution(features // 2, 3, stride, name=f"stem_conv{number}", **options)(x)
        x = FusedNormRelu(norm(name=f"stem_bn{number}"))(x)
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


def _conv3(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """Stem of one 3x3 convolution of stride 1, for 32-pixel images (He et al. 2015, section 4.2)."""
    del norm
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


# Functions that apply a stem to images [B, H, W, 3] and return [B, H', W', features]. Further arguments: `features`,
# the constructor of norms, and as keywords the `dtype` and `kernel_init` of the convolutions.
STEMS: dict[str, Callable[..., jax.Array]] = {
    "conv7": _conv7,
    "space_to_depth": _space_to_depth,
    "deep": _deep,
    "conv3": _conv3,
}
