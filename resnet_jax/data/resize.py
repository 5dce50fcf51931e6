"""Resize kernels on the host, [H, W, 3] uint8 to uint8, and the application of a crop to pixels.

There are two families. Kernels without antialiasing, as in TensorFlow, interpolate between the nearest source pixels:
fast, with aliasing if the image shrinks by more than a factor of 2. Antialiasing kernels, as in Pillow and torchvision,
average over all source pixels under an output pixel.
"""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from resnet_jax.data.crops import View
from resnet_jax.data.image_limits import MAX_PIXELS, check_size
from resnet_jax.errors import UsageError

cv2.setNumThreads(0)  # the loader decodes batches in parallel; threads inside a resize would slow it down

Resize = Callable[[np.ndarray, np.ndarray], None]  # source image, output array that the call fills


def bilinear(image: np.ndarray, out: np.ndarray) -> None:
    """Resizes bilinearly, without antialiasing, with half-pixel centers, as `tf.image.resize` of TF2 does."""
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def bicubic(image: np.ndarray, out: np.ndarray) -> None:
    """Resizes bicubically (a = -0.75), without antialiasing, as PyTorch's `interpolate`; TensorFlow's has a = -0.5."""
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_CUBIC)


def area(image: np.ndarray, out: np.ndarray) -> None:
    """Averages the input under each output pixel if neither side grows; else interpolates as `bilinear` does."""
    shrinks = image.shape[0] >= out.shape[0] and image.shape[1] >= out.shape[1]
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def bilinear_antialias(image: np.ndarray, out: np.ndarray) -> None:
    """Resizes with a triangle filter two output pixels wide: BILINEAR of Pillow and torchvision."""
    _pillow(image, out, Image.Resampling.BILINEAR)


def bicubic_antialias(image: np.ndarray, out: np.ndarray) -> None:
    """Resizes with a cubic filter (a = -0.5) four output pixels wide: BICUBIC of Pillow and torchvision."""
    _pillow(image, out, Image.Resampling.BICUBIC)


def bilinear_tf1(image: np.ndarray, out: np.ndarray) -> None:
    """Resizes bilinearly as `resize_images` of TensorFlow 1 does: output pixel i samples the source at i * scale.

    The r1.x ResNet of the TensorFlow Models repository uses it. Half-pixel centers would sample at (i + 0.5) * scale -
    0.5; without them, the image shifts by up to half a source pixel. TensorFlow returns floats; this function rounds.
    """
    _bilinear_tf1_part(image, out.shape[:2], range(out.shape[0]), range(out.shape[1]), out)


RESIZES: dict[str, Resize] = {
    "bilinear": bilinear,
    "bicubic": bicubic,
    "area": area,
    "bilinear_antialias": bilinear_antialias,
    "bicubic_antialias": bicubic_antialias,
    "bilinear_tf1": bilinear_tf1,
}


def create_resize(name: str) -> Resize:
    """Returns the resize kernel with this name.

    Raises:
      UsageError: unknown name.
    """
    if name not in RESIZES:
        raise UsageError(f"config.data.resize={name!r} is not one of {', '.join(RESIZES)}")
    return RESIZES[name]


def apply_view(image: np.ndarray, view: View, resize: Resize, out: np.ndarray, *, flip: bool = False) -> None:
    """Crops and resizes `image` [H, W, 3] uint8 into `out` [size, size, 3] uint8 as `view` says.

    With `flip`, it mirrors the cropped box left to right before the resize, as the r1.x TensorFlow Models ResNet does.
    """
    box, size = view.box, out.shape[0]
    region = image[box.top : box.top + box.height, box.left : box.left + box.width]
    if flip:
        region = np.ascontiguousarray(region[:, ::-1])  # OpenCV does not accept negative strides
    direct = (view.height, view.width, view.top, view.left) == (size, size, 0, 0)
    if resize is bilinear_tf1 and not direct:
        _cut_bilinear_tf1(region, view, out)
        return
    resized = out if direct else np.empty((view.height, view.width, 3), np.uint8)
    if region.shape == resized.shape:
        resized[...] = region
    else:
        resize(region, resized)
    if not direct:
        _cut(resized, view.top, view.left, out)


def enlarge(image: np.ndarray, short_side: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Enlarges [H, W, 3] uint8 bilinearly to a shorter side of `short_side` pixels; larger images are unchanged.

    Raises:
      ValueError: the enlarged image would have more than `max_pixels` pixels.
    """
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    if factor <= 1:
        return image
    size = round(height * factor), round(width * factor)
    check_size(*size, max_pixels)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _cut(image: np.ndarray, top: int, left: int, out: np.ndarray) -> None:
    """Copies the square at (`top`, `left`) of `image` into `out`; pixels outside the image are black."""
    size = out.shape[0]
    rows, columns = slice(max(top, 0), max(top + size, 0)), slice(max(left, 0), max(left + size, 0))
    region = image[rows, columns]
    if region.shape != out.shape:
        out[...] = 0
    first_row, first_column = max(-top, 0), max(-left, 0)
    out[first_row : first_row + region.shape[0], first_column : first_column + region.shape[1]] = region


def _pillow(image: np.ndarray, out: np.ndarray, kernel: Image.Resampling) -> None:
    out[...] = Image.fromarray(image).resize(out.shape[1::-1], kernel)


def _cut_bilinear_tf1(region: np.ndarray, view: View, out: np.ndarray) -> None:
    """Resizes by `bilinear_tf1`, and computes only the pixels that a view shows.

    Resizing the whole of a thin image, 65,500 times as high as wide, would take half a minute.
    """
    size = out.shape[0]
    rows = range(max(view.top, 0), max(min(view.top + size, view.height), 0))
    columns = range(max(view.left, 0), max(min(view.left + size, view.width), 0))
    if (len(rows), len(columns)) != (size, size):
        out[...] = 0
    first_row, first_column = rows.start - view.top, columns.start - view.left
    part = out[first_row : first_row + len(rows), first_column : first_column + len(columns)]
    _bilinear_tf1_part(region, (view.height, view.width), rows, columns, part)


def _bilinear_tf1_part(image: np.ndarray, whole: tuple[int, int], rows: range, columns: range, out: np.ndarray) -> None:
    """Writes some rows and columns of an image, resized by `bilinear_tf1` to height and width `whole`, into `out`."""
    above, below, weight = _tf1_taps(image.shape[0], whole[0], rows)
    mixed = image[above].astype(np.float32)
    mixed += (image[below] - mixed) * weight[:, None, None]
    left, right, weight = _tf1_taps(image.shape[1], whole[1], columns)
    pixels = mixed[:, left]
    pixels += (mixed[:, right] - pixels) * weight[:, None]
    np.rint(pixels, out=pixels)
    out[...] = pixels  # a weighted mean of uint8 values stays in 0..255


def _tf1_taps(size: int, out_size: int, outputs: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for each output pixel, the two source pixels it interpolates between, and the weight of the second."""
    position = np.arange(outputs.start, outputs.stop, dtype=np.float32) * np.float32(size / out_size)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, size - 1), position - before
