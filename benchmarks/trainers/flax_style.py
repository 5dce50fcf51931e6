"""The training step of Flax's ImageNet example (google/flax, examples/imagenet), on the same uint8 images as ours.

ResNet v1.5 with `nn.Conv`, 'SAME' padding and `nn.BatchNorm` over the whole batch (momentum 0.9, epsilon 1e-5). The
last scale of each block is initialized to zero. The loss is cross entropy plus 1e-4 / 2 times the squares of all
kernels; the optimizer is SGD with Nesterov momentum.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.trainers import Task

_STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_BATCHES = 4  # number of batches, used in turn
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Program(NamedTuple):
    """The two pure functions of a training."""

    init: Callable[[], Any]  # returns the first state
    step: Callable[
        [Any, jax.Array, jax.Array], tuple[Any, dict[str, jax.Array]]
    ]  # (state, images [B, H, W, 3] uint8, labels [B]) -> (state, metrics)


@flax.struct.dataclass
class _State:
    params: Any
    batch_stats: Any
    opt_state: Any


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck."""

    features: int
    stride: int
    bottleneck: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides, width = (self.stride, self.stride), self.features * (4 if self.bottleneck else 1)
        if self.bottleneck:
            y = nn.relu(self.norm()(self.conv(self.features, (1, 1))(x)))
            y = nn.relu(self.norm()(self.conv(self.features, (3, 3), strides)(y)))
            y = self.conv(width, (1, 1))(y)
        else:
            y = nn.relu(self.norm()(self.conv(self.features, (3, 3), strides)(x)))
            y = self.conv(width, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros_init())(y)
        if x.shape != y.shape:
            x = self.norm()(self.conv(width, (1, 1), strides)(x))
        return nn.relu(x + y)


class _ResNet(nn.Module):
    """ResNet v1.5 with 64 features in the first stage."""

    depth: int
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype
        )
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2), padding=[(3, 3), (3, 3)])(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, blocks in enumerate(_STAGES[self.depth]):
            for index in range(blocks):
                stride = 2 if stage and not index else 1
                x = _Block(64 * 2**stage, stride, self.depth >= 50, conv, norm)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(jnp.mean(x, axis=(1, 2))).astype(jnp.float32)


def flax_style(*, depth: int, num_classes: int, image_size: int, dtype: str) -> Program:
    """Returns the program; the caller jits it and donates the state."""
    model = _ResNet(depth, num_classes, jnp.dtype(dtype))
    optimizer = optax.sgd(0.1, momentum=0.9, nesterov=True)

    def init() -> _State:
        variables = model.init(jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)), train=False)
        return _State(variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))

    def loss_fn(params: Any, batch_stats: Any, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        return loss + 0.5e-4 * squares, (updated["batch_stats"], loss, jnp.mean(jnp.argmax(logits, -1) == labels))

    def step(state: _State, images: jax.Array, labels: jax.Array) -> tuple[_State, dict[str, jax.Array]]:
        pixels = (images.astype(jnp.float32) - jnp.asarray(_MEAN)) / jnp.asarray(_STD)
        grads, (batch_stats, loss, accuracy) = jax.grad(loss_fn, has_aux=True)(
            state.params, state.batch_stats, pixels.astype(dtype), labels
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = _State(optax.apply_updates(state.params, updates), batch_stats, opt_state)
        return state, {"loss": loss, "accuracy": accuracy}

    return Program(init, step)


def make(task: Task) -> tuple[str, Callable[[int], None]]:
    """See `load` of the package."""
    sizes = {"num_classes": task.num_classes, "image_size": task.image_size}
    program = flax_style(depth=task.depth, dtype=task.dtype, **sizes)
    random = np.random.default_rng(0)
    shape = (task.batch_size, task.image_size, task.image_size, 3)
    batches = [
        jax.device_put(
            (random.integers(0, 256, shape, np.uint8), random.integers(0, task.num_classes, shape[0], np.int32))
        )
        for _ in range(_BATCHES)
    ]
    state = jax.jit(program.init)()
    step = jax.jit(program.step, donate_argnums=0)

    def run(steps: int) -> None:
        nonlocal state
        for number in range(steps):
            state, metrics = step(state, *batches[number % _BATCHES])
        jax.block_until_ready(metrics)

    run(1)
    return f"JAX {jax.__version__}, a copy of Flax's ImageNet example", run
