"""The resize kernels of `data/resize.py` in TensorFlow, [H, W, 3] uint8 to uint8, for images of any size.

Each kernel repeats the arithmetic of the library that `data/resize.py` calls, OpenCV or Pillow, including fixed-point
weights, rounding and order of summation, and gives the same pixels. Two are not exact: at most one of 10,000 values of
`bicubic` and `bilinear_tf1` differs by one gray level; in images one or two pixels wide or high, more values do.
Sources: OpenCV `modules/imgproc/src/resize.cpp`, Pillow `src/libImaging/Resample.c`.
"""

from collections.abc import Callable
from typing import NamedTuple

import PIL
import tensorflow as tf

Resize = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # source image, height and width of the result

_LINEAR_BITS = 11  # fractional bits of OpenCV's bilinear weights
_PILLOW_BITS = 22  # fractional bits of Pillow's weights
_PILLOW_HEIGHT_FIRST = 13  # first version of Pillow that may resize height before width, see `_pillow`
_SLIVER = 1e-3  # OpenCV's area mean skips fractions of a source pixel up to this size
_OPENCV_CUBIC, _PILLOW_CUBIC = -0.75, -0.5  # parameter a of Keys' cubic kernel


class _Taps(NamedTuple):
    """The T source pixels that contribute to each of N output pixels along one axis."""

    indices: tf.Tensor  # [T, N] int32, index of the source pixel
    weights: tf.Tensor  # [T, N], fixed-point int32 or float32


def bilinear(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as OpenCV's INTER_LINEAR, with weights of 11 fractional bits.

    Rows are combined with the bit shifts of OpenCV's `VResizeLinear`, which drop low bits.
    """
    columns = _linear_taps(tf.shape(image)[1], width, stops_at_edges=True)
    rows = _linear_taps(tf.shape(image)[0], height, stops_at_edges=False)
    mixed = tf.bitwise.right_shift(_mix(image, columns, axis=1), 4)
    terms = [
        tf.bitwise.right_shift(tf.gather(mixed, rows.indices[tap]) * rows.weights[tap][:, None, None], 16)
        for tap in (0, 1)
    ]
    return tf.cast(tf.bitwise.right_shift(terms[0] + terms[1] + 2, 2), tf.uint8)


def bicubic(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as OpenCV's INTER_CUBIC, in float32."""
    mixed = _mix(image, _cubic_taps(tf.shape(image)[1], width), axis=1)
    return _to_uint8(_mix(mixed, _cubic_taps(tf.shape(image)[0], height), axis=0))


def area(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as OpenCV's INTER_AREA: by area means if neither side gets longer, else as `bilinear`."""
    shrinks = (tf.shape(image)[0] >= height) & (tf.shape(image)[1] >= width)
    return tf.cond(shrinks, lambda: _mean(image, height, width), lambda: bilinear(image, height, width))


def bilinear_antialias(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as Pillow's BILINEAR."""
    return _pillow(image, (height, width), _triangle, radius=1.0)


def bicubic_antialias(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as Pillow's BICUBIC."""
    return _pillow(image, (height, width), _pillow_cubic, radius=2.0)


def bilinear_tf1(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes as TensorFlow 1's bilinear `resize_images`, and rounds to integers."""
    above, below, weight = _tf1_taps(tf.shape(image)[0], height)
    first, second = (tf.cast(tf.gather(image, rows), tf.float32) for rows in (above, below))
    mixed = first + (second - first) * weight[:, None, None]
    left, right, weight = _tf1_taps(tf.shape(image)[1], width)
    first, second = (tf.gather(mixed, columns, axis=1) for columns in (left, right))
    return _to_uint8(first + (second - first) * weight[:, None])


RESIZES: dict[str, Resize] = {
    "bilinear": bilinear,
    "bicubic": bicubic,
    "area": area,
    "bilinear_antialias": bilinear_antialias,
    "bicubic_antialias": bicubic_antialias,
    "bilinear_tf1": bilinear_tf1,
}


def _mix(image: tf.Tensor, taps: _Taps, *, axis: int) -> tf.Tensor:
    """Resizes along axis 0 (rows) or 1 (columns): each output pixel is the weighted sum of its taps.

    Products and sums have the dtype of the weights; taps are added in order, because the order affects rounding.
    """
    dtype = taps.weights.dtype
    shape_of_weights = (-1, 1, 1) if axis == 0 else (-1, 1)

    def add(tap: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.cast(tf.gather(image, taps.indices[tap], axis=axis), dtype)
        return tap + 1, total + pixels * tf.reshape(taps.weights[tap], shape_of_weights)

    # A loop over taps: gathering all taps at once would take gigabytes for a large photograph.
    count, out_size = tf.unstack(tf.shape(taps.indices))
    shape = (out_size, tf.shape(image)[1], 3) if axis == 0 else (tf.shape(image)[0], out_size, 3)
    total = (tf.constant(0), tf.ensure_shape(tf.zeros(shape, dtype), (None, None, 3)))
    return tf.while_loop(lambda tap, _: tap < count, add, total)[1]


def _positions(size: tf.Tensor, out_size: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the index of the source pixel before each output pixel, [N] int32, and its distance, 0 to 1, [N] `dtype`.

    Pixel centers are at half-integer coordinates, as in OpenCV.
    """
    position = tf.cast((tf.cast(tf.range(out_size), tf.float64) + 0.5) * _scale(size, out_size) - 0.5, dtype)
    before = tf.floor(position)
    return tf.cast(before, tf.int32), position - before


def _scale(size: tf.Tensor, out_size: tf.Tensor) -> tf.Tensor:
    """Returns `size` / `out_size` in float64, rounded as in OpenCV, which computes 1 / (out_size / size)."""
    return 1.0 / (tf.cast(out_size, tf.float64) / tf.cast(size, tf.float64))


def _linear_taps(size: tf.Tensor, out_size: tf.Tensor, *, stops_at_edges: bool) -> _Taps:
    before, rest = _positions(size, out_size, tf.float32)
    if stops_at_edges:
        rest = tf.where((before < 0) | (before >= size - 1), 0.0, rest)
    weights = tf.round(tf.stack([1.0 - rest, rest]) * 2**_LINEAR_BITS)
    return _Taps(_inside(tf.stack([before, before + 1]), size), tf.cast(weights, tf.int32))


def _cubic_taps(size: tf.Tensor, out_size: tf.Tensor) -> _Taps:
    before, rest = _positions(size, out_size, tf.float64)
    outer = _cubic_far(rest + 1.0, _OPENCV_CUBIC)
    inner = _cubic_near(rest, _OPENCV_CUBIC), _cubic_near(1.0 - rest, _OPENCV_CUBIC)
    weights = tf.stack([outer, *inner, 1.0 - outer - inner[0] - inner[1]])
    return _Taps(_inside(tf.stack([before + tap for tap in (-1, 0, 1, 2)]), size), tf.cast(weights, tf.float32))


def _cubic_near(x: tf.Tensor, a: float) -> tf.Tensor:
    """Keys' cubic kernel for distances 0 to 1."""
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _cubic_far(x: tf.Tensor, a: float) -> tf.Tensor:
    """Keys' cubic kernel for distances 1 to 2."""
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _mean(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes by area means.

    If height and width shrink by integer factors, sums whole pixels and divides once, as OpenCV does.
    """
    sizes = tf.unstack(tf.shape(image)[:2])
    scales = [_scale(size, out_size) for size, out_size in zip(sizes, (height, width), strict=True)]
    whole = tf.reduce_all([tf.equal(scale, tf.round(scale)) for scale in scales])
    rows, columns = (
        _area_taps(size, out_size, scale) for size, out_size, scale in zip(sizes, (height, width), scales, strict=True)
    )
    rows, columns = (
        _Taps(taps.indices, tf.where(whole, tf.cast(taps.weights > 0, tf.float32), taps.weights))
        for taps in (rows, columns)
    )
    total = _mix(_mix(image, columns, axis=1), rows, axis=0)
    share = 1.0 / tf.cast(tf.round(scales[0]) * tf.round(scales[1]), tf.float32)
    # If both sides are halved, OpenCV rounds a mean such as 4.5 up; otherwise to the even number, as `tf.round` does.
    halves = tf.reduce_all([tf.equal(scale, 2.0) for scale in scales])
    means = tf.where(whole, total * share, total)
    return _to_uint8(tf.where(halves, tf.floor(means + 0.5), means))


def _area_taps(size: tf.Tensor, out_size: tf.Tensor, scale: tf.Tensor) -> _Taps:
    """Computes taps as OpenCV's `computeResizeAreaTab`: whole pixels, and fractions of the first and the last one."""
    start = tf.cast(tf.range(out_size), tf.float64) * scale
    end = start + scale
    cell = tf.minimum(scale, tf.cast(size, tf.float64) - start)
    last = tf.minimum(tf.cast(tf.floor(end), tf.int32), size - 1)
    first = tf.minimum(tf.cast(tf.math.ceil(start), tf.int32), last)
    left = tf.cast(first, tf.float64) - start
    right = end - tf.cast(last, tf.float64)
    left = tf.where(left > _SLIVER, left, 0.0)
    right = tf.where(right > _SLIVER, tf.minimum(tf.minimum(right, 1.0), cell), 0.0)
    source = first - 1 + tf.range(tf.reduce_max(last - first) + 2)[:, None]
    inner = tf.where(source < last, tf.ones_like(right), tf.where(source > last, tf.zeros_like(right), right))
    weights = tf.where(source < first, left, inner) / cell
    return _Taps(_inside(source, size), tf.cast(weights, tf.float32))


def _pillow(
    image: tf.Tensor, shape: tuple[tf.Tensor, tf.Tensor], kernel: Callable[[tf.Tensor], tf.Tensor], *, radius: float
) -> tf.Tensor:
    """Resizes as the installed version of Pillow: first the width, then the height, and rounds to uint8 after each.

    Pillow 13 and later resize the height first if it shrinks by more than twice as many pixels as the width; so does
    this function if such a version is installed.
    """
    taps = [_pillow_taps(tf.shape(image)[axis], shape[axis], kernel, radius=radius) for axis in (0, 1)]

    def resize_along(*axes: int) -> tf.Tensor:
        result = image
        for axis in axes:
            total = _mix(result, taps[axis], axis=axis) + 2 ** (_PILLOW_BITS - 1)
            result = tf.cast(tf.clip_by_value(tf.bitwise.right_shift(total, _PILLOW_BITS), 0, 255), tf.uint8)
        return result

    if int(PIL.__version__.split(".")[0]) < _PILLOW_HEIGHT_FIRST:
        return resize_along(1, 0)
    fewer_rows, fewer_columns = (tf.shape(image)[axis] - shape[axis] for axis in (0, 1))
    height_first = fewer_rows > 2 * tf.maximum(fewer_columns, 0)
    return tf.cond(height_first, lambda: resize_along(0, 1), lambda: resize_along(1, 0))


def _pillow_taps(
    size: tf.Tensor, out_size: tf.Tensor, kernel: Callable[[tf.Tensor], tf.Tensor], *, radius: float
) -> _Taps:
    """Computes the taps of one axis as `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow do."""
    scale = tf.cast(size, tf.float64) / tf.cast(out_size, tf.float64)
    widening = tf.maximum(scale, 1.0)
    centre = (tf.cast(tf.range(out_size), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centre - radius * widening + 0.5, tf.int32), 0)
    last = tf.minimum(tf.cast(centre + radius * widening + 0.5, tf.int32), size)
    source = first + tf.range(tf.reduce_max(last - first))[:, None]
    weights = kernel((tf.cast(source, tf.float64) - centre + 0.5) * (1.0 / widening))
    weights = tf.where(source < last, weights, 0.0)
    weights /= tf.reduce_sum(weights, 0)
    fixed = tf.cast(weights * 2**_PILLOW_BITS + 0.5 * tf.sign(weights), tf.int32)
    return _Taps(_inside(source, size), fixed)


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1.0 - tf.abs(x), 0.0)


def _pillow_cubic(x: tf.Tensor) -> tf.Tensor:
    x = tf.abs(x)
    far = tf.where(x < 2.0, _cubic_far(x, _PILLOW_CUBIC), 0.0)
    return tf.where(x < 1.0, _cubic_near(x, _PILLOW_CUBIC), far)


def _tf1_taps(size: tf.Tensor, out_size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the indices of the source pixels before and after each output pixel, and the weight of the one after."""
    scale = tf.cast(tf.cast(size, tf.float64) / tf.cast(out_size, tf.float64), tf.float32)
    position = tf.cast(tf.range(out_size), tf.float32) * scale
    before = tf.cast(position, tf.int32)
    return before, tf.minimum(before + 1, size - 1), position - tf.cast(before, tf.float32)


def _inside(indices: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(indices, 0, size - 1)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)
