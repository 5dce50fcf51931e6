"""Stems: the first convolutions, up to but excluding the batch norm and the max-pool that follow them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from resnet_jax.errors import UsageError
from resnet_jax.models.layers import convolution

Norm = Callable[..., nn.Module]  # constructor of a batch norm: (name=...)


class SpaceToDepthConv(nn.Module):
    """The 7x7 convolution of stride 2, computed as a 4x4 convolution of stride 1 on the space-to-depth image.

    12 input channels fill the matrix units of an accelerator better than 3 (Ying et al. 2018, Image Classification at
    Supercomputer Scale). The parameter is the 7x7 kernel of 'conv7', so training and checkpoints are those of 'conv7'.

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
            padding=((2, 1), (2, 1)),  # output i of the 7x7 reads rows 2i-3 to 2i+3, which are in row pairs i-2 to i+1
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
            "take an even data.image_size, or model.stem=conv7, which is the same function"
        )
    squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def fold_kernel(kernel: jax.Array) -> jax.Array:
    """Converts a 7x7 kernel of stride 2 and padding 3 to the kernel for the space-to-depth image, exactly.

    Args:
      kernel: [7, 7, C, F].

    Returns:
      [4, 4, 4 C, F]: the kernel with a zero row and column added in front, its 2x2 squares folded as by
      `space_to_depth`.
    """
    channels, features = kernel.shape[2:]
    eight = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    return eight.reshape(4, 2, 4, 2, channels, features).transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, -1, features)


def unfold_kernel(folded: jax.Array) -> jax.Array:
    """Inverts `fold_kernel`, exactly: [4, 4, 4 C, F] -> [7, 7, C, F].

    Raises:
      ValueError: the first row or column of the unfolded 8x8 kernel is not zero, as after training the folded kernel
        itself.
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
    """Three 3x3 convolutions: ResNet-C and ResNet-D (He et al. 2019, Bag of Tricks).

    The first has stride 2; the first two have half the features.
    """
    for number, stride in ((1, 2), (2, 1)):
        x = convolution(features // 2, 3, stride, name=f"stem_conv{number}", **options)(x)
        x = nn.relu(norm(name=f"stem_bn{number}")(x))
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


def _conv3(x: jax.Array, features: int, norm: Norm, **options: Any) -> jax.Array:
    """3x3, stride 1, for 32-pixel images (He et al. 2015, section 4.2)."""
    del norm
    return convolution(features, 3, 1, name="stem_conv", **options)(x)


# Functions from the image [B, H, W, 3], the number of features, the constructor of norms, and the attributes `dtype`
# and `kernel_init` of convolutions to [B, H', W', features].
STEMS: dict[str, Callable[..., jax.Array]] = {
    "conv7": _conv7,
    "space_to_depth": _space_to_depth,
    "deep": _deep,
    "conv3": _conv3,
}

# Padding of `max_pool`, by `model.padding`.
POOL_PADDINGS: dict[str, str | tuple[tuple[int, int], ...]] = {
    "torch": ((1, 1), (1, 1)),
    "tf": "SAME",  # pads an even side at its end only
}


def max_pool(x: jax.Array, padding: str) -> jax.Array:
    """Max-pool of 3x3 pixels with stride 2, which follows all stems but 'conv3': H becomes ceil(H / 2).

    Args:
      x: [B, H, W, C].
      padding: 'torch' pads one pixel on all sides, as PyTorch; 'tf' pads as TensorFlow's 'SAME', as r1.
    """
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=POOL_PADDINGS[padding])
