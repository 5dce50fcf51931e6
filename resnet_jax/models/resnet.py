"""The residual network: a stem, stages of blocks, global average pooling and a linear head."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.blocks import BLOCKS, SHORTCUTS, Norm, ResidualBlock, drop_rate
from resnet_jax.models.fused_norm_pool import FusedNormPool
from resnet_jax.models.fused_norm_relu import FusedNormRelu
from resnet_jax.models.layers import HEAD_INITS, KERNEL_INITS, PointwiseConv, convolution
from resnet_jax.models.max_pool import max_pool
from resnet_jax.models.stems import STEMS


@dataclasses.dataclass(frozen=True)
class _BlockIndex:
    """Position of a residual block in the network; all indices start at 0."""

    in_network: int  # index among all blocks of the network
    stage: int  # index of its stage
    in_stage: int  # index among the blocks of that stage


class ResNet(nn.Module):
    """A residual network: stem, stages of blocks, global average pooling, linear head.

    Attributes:
      version: 'v1' (a bottleneck has its stride on the first 1x1 convolution), 'v1.5' (on the 3x3 convolution) or 'v2'
        (pre-activation: as 'v1.5', with each norm and ReLU before its convolution, no norm after the stem, and one
        more norm and ReLU after the last block).
      block: 'basic' or 'bottleneck'.
      stage_sizes: number of blocks of each stage. Each stage after the first halves H and W and doubles the channels.
      features: channels of the stem, and of the convolutions inside the blocks of the first stage.
      num_classes: number of logits.
      dtype: type of activations and convolutions. Parameters, statistics and the head are float32.
      padding: padding of the max-pool after the stem, 'torch' or 'tf', see `max_pool`. It does not affect convolutions:
        they pad by (k - 1) // 2 on all sides, as in PyTorch and in the r1.x ResNet of the TensorFlow Models
        repository.
      stem: key of `STEMS`: 'conv7', 'space_to_depth' (the same function as 'conv7') or 'deep', followed by a max-pool;
        or 'conv3', without a max-pool.
      shortcut: key of `SHORTCUTS`, the shortcut of blocks that change the shape. 'stage_projection' also applies to the
        first block of a stage that keeps the shape.
      blur_pool: low-pass filter the input of each strided convolution in blocks, as FFCV does. The convolution of the
        stem and the max-pool are not filtered.
      squeeze_excitation: `ratio` of `squeeze_and_excite`; 0: no squeeze-and-excitation.
      stochastic_depth: drop rate of the last residual branch in training, see `drop_rate`; 0: no stochastic depth.
      bn_group_size: images that share batch norm statistics, `group_size` of `BatchNorm`.
      bn_momentum: weight of the old value in running statistics, `momentum` of `BatchNorm`.
      bn_epsilon: constant added to variances, `epsilon` of `BatchNorm`.
      zero_init_last_bn: initialize the scale of the last norm of each branch to zero (Goyal et al. 2017, section 5.1).
      kernel_init: key of `KERNEL_INITS`, initializer of convolutions.
      head_init: key of `HEAD_INITS`, initializers of the linear head.
      trained_norms: regular expression; a norm whose parameters it does not match is frozen. '' matches all.
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
        """Number of residual blocks in all stages."""
        return sum(self.stage_sizes)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, uniforms: jax.Array | None = None) -> jax.Array:
        """Computes the logits of images.

        Args:
          x: [B, H, W, 3], normalized images.
          train: normalize by the statistics of the batch, update the running statistics, and apply stochastic depth.
          uniforms: [B, num_blocks] float32 in [0, 1), random numbers for stochastic depth; unused without it.

        Returns:
          [B, num_classes] float32 logits.

        Raises:
          ValueError: training with stochastic depth was called without `uniforms`.
        """
        drops = train and self.stochastic_depth > 0
        if drops and uniforms is None:
            raise ValueError(
                f"training with stochastic depth needs uniforms of shape [B, {self.num_blocks}]: pass them to __call__"
            )
        norm = self._norm(train=train)
        x = self._stem(x.astype(self.dtype), norm)
        for index in self._block_indices():
            block = self._block(index, x.shape[-1], norm)
            x = block(x, uniforms[:, index.in_network] if drops and uniforms is not None else None)
        if self.version == "v2":
            x = FusedNormRelu(norm(name="final_bn"))(x)
        return self._head(jnp.mean(x.astype(jnp.float32), axis=(1, 2)))

    def _norm(self, *, train: bool) -> Norm:
        return functools.partial(
            BatchNorm,
            train=train,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            dtype=self.dtype,
            trained=self.trained_norms,
        )

    def _stem(self, x: jax.Array, norm: Norm) -> jax.Array:
        x = STEMS[self.stem](x, self.features, norm, dtype=self.dtype, kernel_init=KERNEL_INITS[self.kernel_init])
        pool = None if self.stem == "conv3" else functools.partial(max_pool, padding=self.padding)
        if self.version == "v2":
            return x if pool is None else pool(x)
        stem_bn = norm(name="stem_bn")
        return FusedNormRelu(stem_bn)(x) if pool is None else nn.relu(FusedNormPool(stem_bn, pool)(x))

    def _block_indices(self) -> Iterator[_BlockIndex]:
        in_network = iter(range(self.num_blocks))
        for stage, size in enumerate(self.stage_sizes):
            for in_stage in range(size):
                yield _BlockIndex(next(in_network), stage, in_stage)

    def _block(self, index: _BlockIndex, channels: int, norm: Norm) -> ResidualBlock:
        """Makes the block with the given index, for an input of `channels` channels."""
        block_class = BLOCKS[self.version][self.block]
        features = self.features * 2**index.stage
        stride = 2 if index.stage > 0 and index.in_stage == 0 else 1
        kernel_init = KERNEL_INITS[self.kernel_init]
        layers: dict[str, Any] = {
            "conv": functools.partial(convolution, dtype=self.dtype, kernel_init=kernel_init, blur=self.blur_pool),
            "pointwise": functools.partial(PointwiseConv, dtype=self.dtype, kernel_init=kernel_init),
        }
        projection: Callable[..., jax.Array] | None = None
        starts_stage = self.shortcut == "stage_projection" and index.in_stage == 0
        if stride > 1 or channels != features * block_class.expansion or starts_stage:
            shortcut_norm = None if self.version == "v2" else norm
            projection = functools.partial(SHORTCUTS[self.shortcut], norm=shortcut_norm, **layers)
        return block_class(
            features=features,
            stride=stride,
            norm=norm,
            last_scale_init=nn.initializers.zeros if self.zero_init_last_bn else nn.initializers.ones,
            projection=projection,
            squeeze_excitation=self.squeeze_excitation,
            drop_rate=drop_rate(index.in_network, self.num_blocks, self.stochastic_depth),
            name=f"stage{index.stage + 1}_block{index.in_stage + 1}",
            **layers,
        )

    def _head(self, x: jax.Array) -> jax.Array:
        kernel_init, bias_init = HEAD_INITS[self.head_init](x.shape[-1])
        head = nn.Dense(self.num_classes, kernel_init=kernel_init, bias_init=bias_init, dtype=jnp.float32, name="head")
        return head(x)
