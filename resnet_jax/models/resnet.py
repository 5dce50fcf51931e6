"""Residual networks: a stem, stages of blocks, the mean over the image and a linear head."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.blocks import BLOCKS, SHORTCUTS, ResidualBlock, Shortcut, drop_rate
from resnet_jax.models.layers import HEAD_INITS, KERNEL_INITS, PointwiseKernel, convolution
from resnet_jax.models.stems import STEMS, max_pool


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a block stands; all from 0."""

    number: int  # in the network
    stage: int
    index: int  # in its stage


class ResNet(nn.Module):
    """A residual network.

    Attributes:
      version: 'v1' (a bottleneck's stride on its first convolution), 'v1.5' (on its 3x3), or 'v2' (as 'v1.5', but
        norms and ReLUs come before convolutions; none after the stem, one more after the last block).
      block: 'basic' or 'bottleneck'.
      stage_sizes: blocks in each stage; every stage but the first halves the image and doubles the features.
      features: of the stem and of the first stage.
      num_classes: logits.
      dtype: of activations and convolutions; parameters, statistics and the head are float32.
      padding: 'torch' or 'tf', of the stem's max-pool. Convolutions are the same in both: r1 pads strided ones by
        (k - 1) // 2 on all sides, as PyTorch does, and 'SAME' is just that where the stride is 1.
      stem: 'conv7', 'space_to_depth' (the same function) or 'deep', with a max-pool; or
        'conv3', without.
      shortcut: 'projection' where the shape changes; 'stage_projection', also in the first block of a stage whose
        shape does not; 'average_pool' and 'zero_pad' where the shape changes (`shortcuts.py`).
      blur_pool: low-pass filter the input of every strided convolution of the blocks, as FFCV does: those with 16
        channels or more. Stem and pooling stay.
      squeeze_excitation: width of the squeeze / width of the block, see `squeeze_and_excite`; 0: none.
      stochastic_depth: rate at which the last residual branch is dropped in training, see `drop_rate`.
      bn_group_size: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      bn_epsilon: see `BatchNorm`.
      zero_init_last_bn: start every residual branch at zero (Goyal et al. 2017, section 5.1).
      kernel_init: of convolutions, see `KERNEL_INITS`.
      head_init: see `HEAD_INITS`.
      trained_norms: see `trained` of `BatchNorm`; '' is all.
    """

    version: str
    block: Literal["basic", "bottleneck"]
    stage_sizes: Sequence[int]
    features: int
    num_classes: int
    dtype: DTypeLike
    padding: str
    stem: str
    shortcut: str
    blur_pool: bool
    squeeze_excitation: float
    stochastic_depth: float
    bn_group_size: int | None
    bn_momentum: float
    bn_epsilon: float
    zero_init_last_bn: bool
    kernel_init: str
    head_init: str
    trained_norms: str = ""

    @property
    def num_blocks(self) -> int:
        """Residual blocks."""
        return sum(self.stage_sizes)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, uniforms: jax.Array | None = None) -> jax.Array:
        """Classifies images.

        Args:
          x: [B, H, W, 3], normalised.
          train: normalise by the statistics of the batch, update the running ones, and drop branches.
          uniforms: [B, num_blocks] in [0, 1), of stochastic depth; used only in training, if there is any.

        Returns:
          Logits [B, num_classes], float32.

        Raises:
          ValueError: uniforms are needed and missing.
        """
        drops = train and self.stochastic_depth > 0
        if drops and uniforms is None:
            raise ValueError(f"training with stochastic depth needs uniforms of shape [B, {self.num_blocks}]")
        norm = self._norm(train=train)
        x = self._stem(x.astype(self.dtype), norm)
        for place in self._places():
            block = self._block(place, x.shape[-1], norm)
            x = block(x, uniforms[:, place.number] if drops and uniforms is not None else None)
        if self.version == "v2":
            x = nn.relu(norm(name="final_bn")(x))
        return self._head(jnp.mean(x.astype(jnp.float32), axis=(1, 2)))

    def _norm(self, *, train: bool) -> Callable[..., nn.Module]:
        return functools.partial(
            BatchNorm,
            train=train,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            dtype=self.dtype,
            trained=self.trained_norms,
        )

    def _stem(self, x: jax.Array, norm: Callable[..., nn.Module]) -> jax.Array:
        x = STEMS[self.stem](x, self.features, norm, dtype=self.dtype, kernel_init=KERNEL_INITS[self.kernel_init])
        pool = None if self.stem == "conv3" else functools.partial(max_pool, padding=self.padding)
        if self.version == "v2":
            return x if pool is None else pool(x)
        return nn.relu(norm(name="stem_bn")(x, pool=pool))

    def _places(self) -> Iterator[_Place]:
        numbers = iter(range(self.num_blocks))
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                yield _Place(next(numbers), stage, index)

    def _block(self, place: _Place, channels: int, norm: Callable[..., nn.Module]) -> ResidualBlock:
        kind = BLOCKS[self.version][self.block]
        features = self.features * 2**place.stage
        stride = 2 if place.stage > 0 and place.index == 0 else 1
        conv = functools.partial(
            convolution, dtype=self.dtype, kernel_init=KERNEL_INITS[self.kernel_init], blur=self.blur_pool
        )
        pointwise_kernel = functools.partial(PointwiseKernel, kernel_init=KERNEL_INITS[self.kernel_init])
        shortcut: Shortcut | None = None
        whole_stage = self.shortcut == "stage_projection" and place.index == 0
        if stride > 1 or channels != features * kind.expansion or whole_stage:
            shortcut_norm = None if self.version == "v2" else norm
            shortcut = functools.partial(
                SHORTCUTS[self.shortcut], conv=conv, pointwise_kernel=pointwise_kernel, norm=shortcut_norm
            )
        return kind(
            features=features,
            stride=stride,
            conv=conv,
            pointwise_kernel=pointwise_kernel,
            norm=norm,
            last_scale_init=nn.initializers.zeros if self.zero_init_last_bn else nn.initializers.ones,
            shortcut=shortcut,
            squeeze_excitation=self.squeeze_excitation,
            drop_rate=drop_rate(place.number, self.num_blocks, self.stochastic_depth),
            name=f"stage{place.stage + 1}_block{place.index + 1}",
        )

    def _head(self, x: jax.Array) -> jax.Array:
        kernel_init, bias_init = HEAD_INITS[self.head_init](x.shape[-1])
        head = nn.Dense(self.num_classes, kernel_init=kernel_init, bias_init=bias_init, dtype=jnp.float32, name="head")
        return head(x)
