"""The image operations of the augmentation policies, on Pillow as in torchvision and timm, and bit for bit theirs.

Each takes an image, one number, and how to sample where pixels move. What the number means differs: pixels, degrees,
a factor, bits. Some do without it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageEnhance, ImageOps


class Sampling(NamedTuple):
    """What is seen between pixels and beyond the edge, where an operation moves pixels."""

    kernel: Image.Resampling
    fill: tuple[int, int, int]  # RGB


def apply(name: str, image: Image.Image, argument: float, sampling: Sampling) -> Image.Image:
    """Applies an operation of `COLOUR` or `GEOMETRY` to an RGB image."""
    if name in COLOUR:
        return COLOUR[name](image, argument)
    return GEOMETRY[name](image, argument, sampling)


def posterize(image: Image.Image, bits: float) -> Image.Image:
    """Keeps the upper bits of each value, 0 to 8 of them; `ImageOps.posterize` refuses 0 since Pillow 13."""
    mask = 256 - (1 << (8 - int(bits)))
    return image.point([value & mask for value in range(256)] * 3)


def solarize_add(image: Image.Image, addend: float) -> Image.Image:
    """Brightens values below 128 by `addend`, at most to 255 (EfficientNet's autoaugment.py, timm)."""
    table = [min(255, value + int(addend)) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def shear_x(image: Image.Image, slope: float, sampling: Sampling) -> Image.Image:
    """Moves each row to the left by `slope` times its distance from the top edge, which stays."""
    return _affine(image, (1, slope, 0, 0, 1, 0), sampling)


def shear_y(image: Image.Image, slope: float, sampling: Sampling) -> Image.Image:
    """Moves each column up by `slope` times its distance from the left edge, which stays."""
    return _affine(image, (1, 0, 0, slope, 1, 0), sampling)


def translate_x(image: Image.Image, pixels: float, sampling: Sampling) -> Image.Image:
    """Moves to the left."""
    return _affine(image, (1, 0, pixels, 0, 1, 0), sampling)


def translate_y(image: Image.Image, pixels: float, sampling: Sampling) -> Image.Image:
    """Moves up."""
    return _affine(image, (1, 0, 0, 0, 1, pixels), sampling)


def rotate(image: Image.Image, degrees: float, sampling: Sampling) -> Image.Image:
    """Turns counter-clockwise about the middle."""
    return image.rotate(degrees, resample=sampling.kernel, fillcolor=sampling.fill)


COLOUR: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": posterize,
    "solarize": lambda image, threshold: ImageOps.solarize(image, math.ceil(threshold)),  # inverts from there on
    "solarize_add": solarize_add,
    # A factor of 1 leaves the image; 0 makes it grey, flat grey, black, or smoothed.
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
}
GEOMETRY: dict[str, Callable[[Image.Image, float, Sampling], Image.Image]] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    # By a share of the side instead of pixels.
    "translate_x_relative": lambda image, share, sampling: translate_x(image, share * image.width, sampling),
    "translate_y_relative": lambda image, share, sampling: translate_y(image, share * image.height, sampling),
    "rotate": rotate,
}


def _affine(image: Image.Image, matrix: tuple[float, ...], sampling: Sampling) -> Image.Image:
    """Takes output pixel (x, y) from (a x + b y + c, d x + e y + f) for a matrix of a, b, c, d, e, f."""
    method = Image.Transform.AFFINE
    return image.transform(image.size, method, matrix, resample=sampling.kernel, fillcolor=sampling.fill)
