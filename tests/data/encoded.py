"""Images in memory for the tests."""

import io

import numpy as np
from PIL import Image


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A natural-looking [H, W, 3] uint8 image: low frequencies only, so that JPEG keeps it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray, kind: str, mode: str = "RGB", **options) -> bytes:
    """Encodes as 'JPEG' or 'PNG' in a Pillow mode."""
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()
