"""Resize kernels on the host, [H, W, 3] uint8 to uint8.

Two families. Those that look at the nearest source pixels alone are fast and alias where an image shrinks much:
TensorFlow's way. Those that average over all source pixels below an output pixel do not: the way of Pillow, and so
of torchvision.
"""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from resnet_jax.data.crops import View
from resnet_jax.errors import UsageError

cv2.setNumThreads(0)  # the loader runs whole batches in parallel; threads inside a resize only get in their way

Resize = Callable[[np.ndarray, np.ndarray], None]  # the source, and the array to be filled


def bilinear(image: np.ndarray, out: np.ndarray) -> None:
    """Half-pixel centres, no antialiasing: `tf.image.resize` of TF2, `torch.nn.functional.interpolate`."""
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def bicubic(image: np.ndarray, out: np.ndarray) -> None:
    """Half-pixel centres, no antialiasing, a = -0.75: `torch.nn.functional.interpolate`; TensorFlow has a = -0.5."""
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_CUBIC)


def area(image: np.ndarray, out: np.ndarray) -> None:
    """The mean over the area of an output pixel where both sides shrink; else bilinear."""
    shrinks = image.shape[0] >= out.shape[0] and image.shape[1] >= out.shape[1]
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def bilinear_antialias(image: np.ndarray, out: np.ndarray) -> None:
    """A triangle as wide as two output pixels: Pillow's and torchvision's BILINEAR."""
    _pillow(image, out, Image.Resampling.BILINEAR)


def bicubic_antialias(image: np.ndarray, out: np.ndarray) -> None:
    """A cubic (a = -0.5) as wide as four output pixels: Pillow's and torchvision's BICUBIC."""
    _pillow(image, out, Image.Resampling.BICUBIC)


def bilinear_tf1(image: np.ndarray, out: np.ndarray) -> None:
    """TensorFlow 1's `resize_images`: output pixel i looks at i * scale, not (i + 0.5) * scale - 0.5.

    `align_corners=False` and no half-pixel centres, so that images shift by up to half a source pixel; r1 was
    trained with it. Its float result is rounded here.
    """
    above, below, weight = _tf1_taps(image.shape[0], out.shape[0])
    rows = image[above].astype(np.float32)
    rows += (image[below] - rows) * weight[:, None, None]
    left, right, weight = _tf1_taps(image.shape[1], out.shape[1])
    pixels = rows[:, left]
    pixels += (rows[:, right] - pixels) * weight[:, None]
    np.rint(pixels, out=pixels)
    out[...] = pixels  # a mean of uint8 values cannot leave their range


RESIZES: dict[str, Resize] = {
    "bilinear": bilinear,
    "bicubic": bicubic,
    "area": area,
    "bilinear_antialias": bilinear_antialias,
    "bicubic_antialias": bicubic_antialias,
    "bilinear_tf1": bilinear_tf1,
}


def create_resize(name: str) -> Resize:
    """Looks a kernel up. Raises UsageError for an unknown name."""
    if name not in RESIZES:
        raise UsageError(f"config.data.resize={name!r} is not one of {', '.join(RESIZES)}")
    return RESIZES[name]


def show(image: np.ndarray, view: View, resize: Resize, out: np.ndarray) -> None:
    """Fills `out` [size, size, 3] with a view of `image` [H, W, 3], both uint8."""
    box, size = view.box, out.shape[0]
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    direct = (view.height, view.width, view.top, view.left) == (size, size, 0, 0)
    whole = out if direct else np.empty((view.height, view.width, 3), np.uint8)
    if part.shape == whole.shape:
        whole[...] = part
    else:
        resize(part, whole)
    if not direct:
        _cut(whole, view.top, view.left, out)


def enlarge(image: np.ndarray, short_side: int) -> np.ndarray:
    """Enlarges [H, W, 3] uint8 until its shorter side is `short_side` (bilinear); a larger image is returned as is."""
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    if factor <= 1:
        return image
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_LINEAR)


def _cut(image: np.ndarray, top: int, left: int, out: np.ndarray) -> None:
    """Copies the square at (top, left); what lies outside the image is black."""
    size = out.shape[0]
    rows, columns = slice(max(top, 0), max(top + size, 0)), slice(max(left, 0), max(left + size, 0))
    part = image[rows, columns]
    if part.shape != out.shape:
        out[...] = 0
    first_row, first_column = max(-top, 0), max(-left, 0)
    out[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1]] = part


def _pillow(image: np.ndarray, out: np.ndarray, kernel: Image.Resampling) -> None:
    out[...] = Image.fromarray(image).resize(out.shape[1::-1], kernel)


def _tf1_taps(size: int, out_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output pixel the source pixel before, the one after, and the weight of the latter."""
    position = np.arange(out_size, dtype=np.float32) * np.float32(size / out_size)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, size - 1), position - before
