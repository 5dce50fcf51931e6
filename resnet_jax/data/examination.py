"""Examines stored images before training: their size, their colors, and unusual properties such as CMYK."""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from resnet_jax.data.decode import decode
from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.data.other_formats import stored_kind

PRINT_COLORS, DEEP, ROTATED, BLANK = "CMYK", "16-bit", "EXIF-rotated", "one color"  # values in `Examined.unusual`
UNUSUAL = (PRINT_COLORS, DEEP, ROTATED, BLANK)


class Examined(NamedTuple):
    """What `examine` finds out about an image that can be decoded."""

    height: int  # pixels
    width: int  # pixels
    unusual: tuple[str, ...]  # unusual properties that the image has, out of `UNUSUAL`
    digest: int  # 64-bit hash of the size and the pixels: equal images have equal digests
    mean: np.ndarray  # [3] float64, mean of R, G, B in 0..255
    mean_square: np.ndarray  # [3] float64, mean of the squares of R, G, B


def examine(image: bytes | np.ndarray, max_pixels: int = MAX_PIXELS) -> Examined:
    """Decodes an image completely and examines it.

    Args:
      image: content of an image file, or pixels [H, W, 3] uint8.
      max_pixels: largest allowed number of pixels.

    Raises:
      ValueError: the image cannot be decoded, or has more than `max_pixels` pixels.
    """
    pixels = decode(image, max_pixels) if isinstance(image, bytes) else image
    unusual = _unusual_file(image) if isinstance(image, bytes) else []
    mean, deviation = (values[:, 0] for values in cv2.meanStdDev(pixels))
    if not deviation.any():
        unusual.append(BLANK)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return Examined(
        height=pixels.shape[0],
        width=pixels.shape[1],
        unusual=tuple(unusual),
        digest=int.from_bytes(digest.digest(), "little"),
        mean=mean,
        mean_square=deviation**2 + mean**2,
    )


def _unusual_file(encoded: bytes) -> list[str]:
    """Returns the unusual properties that only the header of a file shows: CMYK, 16 bits, rotated by EXIF."""
    try:
        kind = stored_kind(encoded)
    except Exception:  # Pillow raises errors of many types for some files that `decode` reads without Pillow
        return []
    found = {PRINT_COLORS: kind.mode == "CMYK", DEEP: kind.bits > 8, ROTATED: kind.orientation not in (0, 1)}
    return [name for name, is_so in found.items() if is_so]
