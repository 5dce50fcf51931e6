"""Decoding and resizing on the host, in uint8."""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from resnet_jax.data.crops import Box

cv2.setNumThreads(0)  # the loader runs whole batches in parallel; threads inside a resize only get in their way
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot decode is an error here

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image file to [H, W, 3] RGB uint8; grey images are repeated, EXIF rotation is ignored.

    Raises:
      ValueError: no format of JPEG, PNG or one that Pillow knows, or the data end too early.
    """
    try:
        if encoded.startswith(_JPEG):
            return simplejpeg.decode_jpeg(encoded, colorspace="RGB")
        if encoded.startswith(_PNG):
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is not None:
                return image
    except ValueError:
        pass  # CMYK, for one: Pillow decides
    return _decode_with_pillow(encoded)


def crop_and_resize(image: np.ndarray, box: Box, out: np.ndarray) -> None:
    """Resamples the box of [H, W, 3] uint8 into `out` [size, size, 3] uint8.

    By area average where both sides shrink, which keeps fine patterns from aliasing; else bilinear.
    """
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    shrinks = box.height >= out.shape[0] and box.width >= out.shape[1]
    cv2.resize(part, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def enlarge(image: np.ndarray, short_side: int) -> np.ndarray:
    """Enlarges [H, W, 3] uint8 until its shorter side is `short_side` (bilinear); a larger image is returned as is."""
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    if factor <= 1:
        return image
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_LINEAR)


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("no image, or the beginning of one is missing") from None
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise ValueError(str(error)) from None
