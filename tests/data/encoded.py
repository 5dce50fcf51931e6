"""Images in memory for the tests."""

import io

import numpy as np
from PIL import Image


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a smooth [H, W, 3] uint8 image of low frequencies, which JPEG preserves."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray, kind: str, mode: str = "RGB", **options) -> bytes:
    """Encodes as 'JPEG' or 'PNG' in a Pillow mode."""
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a photo-like [H, W, 3] uint8 image: a 1/f spectrum like natural scenes (Field 1987), and sharp edges."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency
        planes.append(np.fft.irfft2(spectrum, s=(height, width)))
    image = np.stack(planes, -1) @ np.array([[1, 1, 1], [0.3, 0, -0.3], [0.1, -0.2, 0.1]])  # correlated color channels
    rows, columns = np.mgrid[:height, :width]
    for _ in range(6):  # occluding surfaces
        slope, offset = rng.normal(size=2), rng.uniform(-0.5, 0.5)
        inside = slope[0] * (rows / height - 0.5) + slope[1] * (columns / width - 0.5) > offset
        image = image + inside[:, :, None] * rng.normal(0, 0.5, 3) * image.std()
    return np.clip(118 + 55 * (image - image.mean()) / image.std(), 0, 255).astype(np.uint8)
