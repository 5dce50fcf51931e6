"""Augmentation policies on the host: which operations an image gets, and how strong they are.

A policy maps a cropped image and some uniform numbers to an image: a pure function, as a crop is. It comes before the
random flip, which is made on the devices; in the references it comes after. The distribution is the same, as every
operation that moves pixels has a random sign, but for the vertical shear: the edge that stays is the left one here,
and so the right one after a flip.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from resnet_jax.errors import UsageError


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


T = TypeVar("T")


class Policy(Protocol):
    """Changes an image at random."""

    @property
    def num_uniforms(self) -> int:
        """How many uniform numbers an image takes."""
        ...

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """Returns the changed image, [H, W, 3] uint8 as `image`.

        Args:
          image: [H, W, 3] uint8.
          uniforms: `num_uniforms` numbers in [0, 1).
        """
        ...


def _steps(furthest: float) -> tuple[float, ...]:
    """The 31 strengths of TrivialAugment."""
    return tuple(number * furthest / 30 for number in range(31))


def _signed(strengths: Sequence[float], *, around: float = 0.0) -> tuple[float, ...]:
    return tuple(around + sign * strength for strength in strengths for sign in (1, -1))


_PIXELS = _signed([int(pixels) for pixels in _steps(32)])
TRIVIAL_AUGMENT: dict[str, tuple[float, ...]] = {
    "identity": (0.0,),
    "shear_x": _signed(_steps(0.99)),
    "shear_y": _signed(_steps(0.99)),
    "translate_x": _PIXELS,
    "translate_y": _PIXELS,
    "rotate": _signed(_steps(135)),
    "brightness": _signed(_steps(0.99), around=1.0),
    "saturation": _signed(_steps(0.99), around=1.0),
    "contrast": _signed(_steps(0.99), around=1.0),
    "sharpness": _signed(_steps(0.99), around=1.0),
    "posterize": tuple(8 - round(bits) for bits in _steps(6)),
    "solarize": tuple(255 - below for below in _steps(255)),
    "auto_contrast": (0.0,),
    "equalize": (0.0,),
}


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """TrivialAugment, wide (Müller and Hutter 2021): one operation of 14, of a strength of 31, both uniformly chosen.

    As torchvision's `TrivialAugmentWide`: nearest pixels or `bilinear` ones, black beyond the edge. Its strengths are
    rounded to float32, so that number 15 of 0..30 translates by 15 pixels, not 16, and a few others are one grey
    level off.
    """

    bilinear: bool = False
    num_uniforms: ClassVar[int] = 2

    @property
    def sampling(self) -> Sampling:
        """How pixels are found between pixels, and beyond the edge."""
        kernel = Image.Resampling.BILINEAR if self.bilinear else Image.Resampling.NEAREST
        return Sampling(kernel, (0, 0, 0))

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """See `Policy`."""
        u_operation, u_argument = uniforms
        name, arguments = _pick(tuple(TRIVIAL_AUGMENT.items()), u_operation)
        argument = _pick(arguments, u_argument)
        return np.asarray(apply(name, Image.fromarray(image), argument, self.sampling))


_Argument = Callable[[float, int], float]  # of an operation, from a strength in 0..1 and a sign


def _reach(furthest: float) -> _Argument:
    return lambda strength, sign: sign * (strength * furthest)


def _factor(strength: float, sign: int) -> float:
    return max(0.1, 1.0 + sign * (strength * 0.9))


RAND_AUGMENT: dict[str, _Argument] = {
    "auto_contrast": _reach(0),
    "equalize": _reach(0),
    "invert": _reach(0),
    "rotate": _reach(30),
    "posterize": lambda strength, _: 4 - int(strength * 4),
    "solarize": lambda strength, _: 256 - int(strength * 256),
    "solarize_add": lambda strength, _: int(strength * 110),
    "saturation": _factor,
    "contrast": _factor,
    "brightness": _factor,
    "sharpness": _factor,
    "shear_x": _reach(0.3),
    "shear_y": _reach(0.3),
    "translate_x_relative": _reach(0.45),
    "translate_y_relative": _reach(0.45),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2019) with the 15 operations and ranges of timm's `rand-m<M>-mstd<S>-inc1`.

    Each operation is chosen uniformly, whatever the others are. As timm with its defaults for ImageNet: the kernel is
    bilinear or bicubic at random, the mean colour of ImageNet lies beyond the edge. A magnitude of 0 does not leave all
    as it is: equalising, inverting and stretching the contrast know no strength, and posterising begins at 4 bits.

    Attributes:
      num_ops: operations an image, one after the other.
      magnitude: 0 to 10.
      magnitude_std: standard deviation of the magnitude of each operation, which is then cut off to 0..10.
      probability: that an operation is applied once it is chosen.
    """

    num_ops: int
    magnitude: float
    magnitude_std: float
    probability: float
    LARGEST: ClassVar[float] = 10.0
    KERNELS: ClassVar = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    FILL: ClassVar = (124, 116, 104)

    @property
    def num_uniforms(self) -> int:
        """See `Policy`."""
        return 5 * self.num_ops

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """See `Policy`."""
        result = Image.fromarray(image)
        for number in range(self.num_ops):
            u_applied, u_operation, u_magnitude, u_sign, u_kernel = uniforms[5 * number : 5 * number + 5]
            if u_applied >= self.probability:
                continue
            name, argument = _pick(tuple(RAND_AUGMENT.items()), u_operation)
            sampling = Sampling(_pick(self.KERNELS, u_kernel), self.FILL)
            result = apply(name, result, argument(self._strength(u_magnitude), _pick((1, -1), u_sign)), sampling)
        return np.asarray(result)

    def _strength(self, uniform: float) -> float:
        """In 0..1, of a magnitude that a uniform number chooses."""
        deviation = statistics.NormalDist().inv_cdf(max(uniform, 2.0**-54))  # which is less than all but 0
        return min(max(self.magnitude + self.magnitude_std * deviation, 0.0), self.LARGEST) / self.LARGEST


def create_policy(
    name: str, *, num_ops: int, magnitude: float, magnitude_std: float, probability: float, bilinear: bool
) -> Policy | None:
    """Makes a policy, None for 'none'; each takes what it needs. Raises UsageError for an unknown name."""
    policies: dict[str, Policy | None] = {
        "none": None,
        "trivial_augment": TrivialAugment(bilinear),
        "rand_augment": RandAugment(num_ops, magnitude, magnitude_std, probability),
    }
    if name not in policies:
        raise UsageError(f"config.data.augment.name={name!r} is not one of {', '.join(policies)}")
    return policies[name]


def _pick(options: Sequence[T], uniform: float) -> T:
    return options[int(uniform * len(options))]
