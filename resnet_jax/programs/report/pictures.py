"""Images that are embedded in report.html as data URLs."""

import base64
from pathlib import Path

import cv2
import numpy as np

from resnet_jax.data.decode import decode
from resnet_jax.data.image_limits import MAX_PIXELS

_SIDE = 96  # pixels of the longer side; larger images are shrunk to it
_QUALITY = 82  # quality of JPEG files, 0 to 100
_LARGE_FILE = 150_000  # bytes; a larger PNG file is stored as JPEG if that is smaller


def thumbnail(image: bytes | np.ndarray, max_pixels: int = MAX_PIXELS) -> str:
    """Returns an <img> of the whole image, at most 96 x 96 pixels; a smaller one is enlarged by the browser.

    Args:
      image: content of an image file, or pixels [H, W, 3] uint8.
      max_pixels: largest number of pixels that the image may have.

    Raises:
      ValueError: the image cannot be decoded.
    """
    pixels = decode(image, max_pixels) if isinstance(image, bytes) else image
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small = max(height, width) < _SIDE
    kind = "png" if small else "jpeg"
    return f'<img class="{"small" if small else ""}" alt="" src="{_address(_encoded(pixels, kind), kind)}">'


def picture(path: Path, *, about: str) -> str:
    """Returns an <img> of a PNG file, as JPEG if the file is large; '' if it cannot be read."""
    try:
        content = path.read_bytes()
        kind = "png"
        if len(content) > _LARGE_FILE:
            smaller = _encoded(decode(content), "jpeg")
            content, kind = min((content, "png"), (smaller, "jpeg"), key=lambda pair: len(pair[0]))
    except (OSError, ValueError):
        return ""
    return f'<img class="inputs" alt="{about}" src="{_address(content, kind)}">'


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if kind == "jpeg" else []
    done, content = cv2.imencode(f".{kind}", cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"a picture of {pixels.shape} cannot be encoded")
    return content.tobytes()


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
