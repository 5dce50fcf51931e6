"""A source of generated JPEG files with learnable classes, to run the whole input pipeline without data."""

import functools

import cv2
import numpy as np
import simplejpeg

from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.sources.source import Example

_NUM_FILES = 1024  # distinct files, about 60 KB each at 500 x 375, cached in memory; higher indices repeat them
_QUALITY = 90


class SyntheticJpegSource:
    """Images of stripes: the class determines color and pattern, the index of the example everything else.

    Hues are spaced by the golden ratio on the color circle; each class has its own direction and width of stripes.
    Contrast, brightness, phase, coarse noise and fine noise vary between the images of a class.
    """

    def __init__(self, name: str, *, num_examples: int, num_classes: int, height: int, width: int):
        self.name = name
        self.class_names = tuple(str(label) for label in range(num_classes))
        self._num_examples, self._height, self._width = num_examples, height, width

    def __len__(self) -> int:
        return self._num_examples

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        num_classes = len(self.class_names)
        number = index % (max(1, _NUM_FILES // num_classes) * num_classes)  # every class has the same number of files
        label = number % num_classes
        return Example(_encoded(self.name, number, label, self._height, self._width), label)

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the name of the source and the index; there is no file."""
        return f"{self.name}[{index}], generated"


def open_source(
    *,
    training: bool = True,
    num_train: int = 1_281_167,
    num_eval: int = 250,
    num_classes: int = 1000,
    image_height: int = 375,
    image_width: int = 500,
) -> SyntheticJpegSource:
    """Opens the training or the evaluation split; the splits have the same classes but different images."""
    return SyntheticJpegSource(
        "synthetic_jpeg/train" if training else "synthetic_jpeg/eval",
        num_examples=num_train if training else num_eval,
        num_classes=num_classes,
        height=image_height,
        width=image_width,
    )


@functools.lru_cache(maxsize=2 * _NUM_FILES)
def _encoded(name: str, number: int, label: int, height: int, width: int) -> bytes:
    """Generates a JPEG file; a pure function of its arguments."""
    key = int(combine(*name.encode(), number)[0])
    brightness, contrast, phase = uniforms(key, np.zeros(1, np.int64), 3)[0]
    golden = (label * 0.6180339887) % 1
    angle, waves = np.pi * golden * 7, 3 + 9 * ((label * 0.7548776662) % 1)
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    stripes = np.sin(2 * np.pi * (waves * (columns * np.cos(angle) + rows * np.sin(angle)) + phase))
    hue = np.array([[[360 * golden, 0.6, 0.45 + 0.2 * brightness]]], np.float32)
    color = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0] * 255
    noise = np.random.Generator(np.random.SFC64(key))
    coarse = cv2.resize(noise.normal(0, 12, (6, 8, 3)).astype(np.float32), (width, height))
    fine = noise.normal(0, 6, (height, width, 1)).astype(np.float32)
    pixels = color * (1 + (0.25 + 0.25 * contrast) * stripes[:, :, None]) + coarse + fine
    return simplejpeg.encode_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=_QUALITY, colorspace="RGB")
