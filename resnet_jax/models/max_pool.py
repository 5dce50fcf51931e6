"""The 3x3 max-pool of stride 2, with a gradient that is reproducible bit by bit on every platform.

For the gradient of a max-pool, XLA has one operation, select-and-scatter. Its form depends on the platform
(`platforms.py`):

* TPU: select-and-scatter, which TPUs compute in a fixed order. The other form would move 9 MB more per image to
  and from HBM.
* all others: the forward pass also stores the position of each maximum in its window as int8, and the gradient of each
  pixel is the sum over the at most four windows that contain it. On NVIDIA GPUs, XLA turns select-and-scatter into one
  atomic addition for each value, in an order that differs between runs, with rounding that differs too. On CPUs,
  select-and-scatter takes four times as long as this sum.

Both pass the gradient of a window to its largest value, and to the first one in row-major order if several are equal.
On CPUs, where both can be run, they are equal bit by bit (tests/models/test_max_pool.py).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.models.platforms import by_platform

_SIZE, _STRIDE = 3, 2

Pads = tuple[tuple[int, int], tuple[int, int]]  # pixels before and after the rows, and before and after the columns

# Values of `model.padding`. 'torch' pads one pixel on all sides; 'tf' is TensorFlow's 'SAME', which pads an even H or W
# by one pixel, at its end.
POOL_PADDINGS = ("torch", "tf")


def max_pool(x: jax.Array, padding: str) -> jax.Array:
    """Applies the 3x3 max-pool of stride 2 that follows all stems but 'conv3'. It halves H and W, rounded up.

    Args:
      x: [B, H, W, C].
      padding: 'torch' or 'tf', see `POOL_PADDINGS`.
    """
    return _pool(x, tuple((0 if padding == "tf" and side % 2 == 0 else 1, 1) for side in x.shape[1:3]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool(x: jax.Array, pads: Pads) -> jax.Array:
    return _reduce_window(x, pads)


def _reduce_window(x: jax.Array, pads: Pads) -> jax.Array:
    return nn.max_pool(x, (_SIZE, _SIZE), strides=(_STRIDE, _STRIDE), padding=pads)


def _forward(x: jax.Array, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Returns the result of the pool, and what the gradient may need: the input and the positions of the maxima."""
    # `_backward` reads one of the two, depending on the platform; XLA removes the other from the program.
    y, positions = by_platform(
        x, tpu=functools.partial(_without_positions, pads=pads), others=functools.partial(_with_positions, pads=pads)
    )
    return y, (x, positions)


def _backward(pads: Pads, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array]:
    return (
        by_platform(
            *residuals,
            cotangent,
            tpu=functools.partial(_select_and_scatter, pads=pads),
            others=functools.partial(_sum_over_windows, pads=pads),
        ),
    )


_pool.defvjp(_forward, _backward)


def _without_positions(x: jax.Array, *, pads: Pads) -> tuple[jax.Array, jax.Array]:
    y = _reduce_window(x, pads)
    return y, jnp.zeros(y.shape, jnp.int8)


def _select_and_scatter(x: jax.Array, positions: jax.Array, cotangent: jax.Array, *, pads: Pads) -> jax.Array:
    del positions
    (gradient,) = jax.vjp(functools.partial(_reduce_window, pads=pads), x)[1](cotangent)
    return gradient


def _with_positions(x: jax.Array, *, pads: Pads) -> tuple[jax.Array, jax.Array]:
    """Computes the pool, and the position of each maximum in its window.

    Args:
      x: [B, H, W, C].
      pads: pixels of padding.

    Returns:
      The result, [B, H', W', C], and for each of its values the row-major position 0 to 8 of the maximum in the 3x3
      window, int8: the first if several are equal. Pixels of padding are -inf, as in JAX's gradient on CPUs and GPUs.
    """
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    rows, columns = -(-height // _STRIDE), -(-width // _STRIDE)
    largest = jnp.full((batch, rows, columns, channels), -jnp.inf, x.dtype)
    positions = jnp.zeros(largest.shape, jnp.int8)
    for position in range(_SIZE * _SIZE):
        i, j = divmod(position, _SIZE)
        values = padded[:, i : i + _STRIDE * rows - 1 : _STRIDE, j : j + _STRIDE * columns - 1 : _STRIDE]
        positions = jnp.where(values > largest, jnp.int8(position), positions)
        largest = jnp.maximum(largest, values)  # propagates NaN, as `reduce_window` does
    return largest, positions


def _sum_over_windows(x: jax.Array, positions: jax.Array, cotangent: jax.Array, *, pads: Pads) -> jax.Array:
    """Computes the gradient of the pool's input: for each pixel, the sum over the windows whose maximum it is.

    A pixel in row 2 m + a, a = 0 or 1, is row i of the windows in row p = m + (a + pad - i) / 2 of the output, if p is
    an integer. So for each of the four parities of row and column, the sum has one, two or four terms, each of which is
    `cotangent` shifted by at most one window, where the maximum of the window is in its row i and column j.

    Args:
      x: [B, H, W, C], input of the pool; only its shape and type are used.
      positions: [B, H', W', C] int8, see `_with_positions`.
      cotangent: [B, H', W', C].
      pads: pixels of padding.
    """
    batch, rows, columns, channels = cotangent.shape
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    cotangent = jnp.pad(cotangent.astype(jnp.float32), around)
    positions = jnp.pad(positions, around, constant_values=-1)

    def term(p: int, i: int, q: int, j: int) -> jax.Array:
        window = (slice(None), slice(1 + p, 1 + p + rows), slice(1 + q, 1 + q + columns))
        return jnp.where(positions[window] == _SIZE * i + j, cotangent[window], 0.0)

    def parity(a: int, b: int) -> jax.Array:
        of_rows, of_columns = _windows(a, pads[0][0]), _windows(b, pads[1][0])
        # Adds in the order of the windows, so that the sum is rounded as in select-and-scatter on CPUs.
        return functools.reduce(jnp.add, [term(p, i, q, j) for p, i in of_rows for q, j in of_columns])

    squares = jnp.stack([jnp.stack([parity(a, b) for b in (0, 1)], axis=3) for a in (0, 1)], axis=2)
    gradient = squares.reshape(batch, 2 * rows, 2 * columns, channels).astype(x.dtype)
    return gradient[:, : x.shape[1], : x.shape[2]]


def _windows(parity: int, pad: int) -> list[tuple[int, int]]:
    """Returns (p - m, i) for each window p along one axis whose pixel i is pixel 2 m + parity, ordered by p."""
    return sorted(((parity + pad - i) // 2, i) for i in range(_SIZE) if (parity + pad - i) % 2 == 0)
