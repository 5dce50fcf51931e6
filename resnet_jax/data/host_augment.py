"""The augmentation policies TrivialAugment and RandAugment on the host, and the image operations that they apply.

A policy is a pure function: it maps a cropped image and uniform random numbers to an image. It runs before the random
horizontal flip, which the devices make; the reference implementations flip first. Both orders give images of the same
distribution, since geometric operations have a random sign, with one exception: a vertical shear keeps the left edge of
the image in place, and a later flip makes this the right edge.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from resnet_jax.errors import UsageError

T = TypeVar("T")


class Interpolation(NamedTuple):
    """How a geometric operation computes pixels between and outside of the pixels of its input."""

    kernel: Image.Resampling
    fill: tuple[int, int, int]  # RGB color of pixels outside the input, 0 to 255


def apply_operation(name: str, image: Image.Image, argument: float, interpolation: Interpolation) -> Image.Image:
    """Applies operation `name`, a key of `COLOR_OPERATIONS` or `GEOMETRIC_OPERATIONS`, to an RGB image."""
    if name in COLOR_OPERATIONS:
        return COLOR_OPERATIONS[name](image, argument)
    return GEOMETRIC_OPERATIONS[name](image, argument, interpolation)


def posterize(image: Image.Image, bits: float) -> Image.Image:
    """Keeps the highest `bits` bits (0 to 8) of each color value; `ImageOps.posterize` of Pillow 13 rejects 0 bits."""
    mask = 256 - (1 << (8 - int(bits)))
    return image.point([value & mask for value in range(256)] * 3)


def solarize_add(image: Image.Image, addend: float) -> Image.Image:
    """Adds `addend` to color values below 128 and clips to 255, as EfficientNet's autoaugment.py and timm do."""
    table = [min(255, value + int(addend)) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def shear_x(image: Image.Image, slope: float, interpolation: Interpolation) -> Image.Image:
    """Shifts each row left by `slope` times its distance from the top edge."""
    return _affine(image, (1, slope, 0, 0, 1, 0), interpolation)


def shear_y(image: Image.Image, slope: float, interpolation: Interpolation) -> Image.Image:
    """Shifts each column up by `slope` times its distance from the left edge."""
    return _affine(image, (1, 0, 0, slope, 1, 0), interpolation)


def translate_x(image: Image.Image, pixels: float, interpolation: Interpolation) -> Image.Image:
    """Shifts the image left by a number of pixels."""
    return _affine(image, (1, 0, pixels, 0, 1, 0), interpolation)


def translate_y(image: Image.Image, pixels: float, interpolation: Interpolation) -> Image.Image:
    """Shifts the image up by a number of pixels."""
    return _affine(image, (1, 0, 0, 0, 1, pixels), interpolation)


def rotate(image: Image.Image, degrees: float, interpolation: Interpolation) -> Image.Image:
    """Rotates the image counterclockwise about its center."""
    return image.rotate(degrees, resample=interpolation.kernel, fillcolor=interpolation.fill)


def _affine(image: Image.Image, matrix: tuple[float, ...], interpolation: Interpolation) -> Image.Image:
    """Takes output pixel (x, y) from input (a x + b y + c, d x + e y + f), for `matrix` = (a, b, c, d, e, f)."""
    method = Image.Transform.AFFINE
    return image.transform(image.size, method, matrix, resample=interpolation.kernel, fillcolor=interpolation.fill)


COLOR_OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": posterize,
    "solarize": lambda image, threshold: ImageOps.solarize(image, math.ceil(threshold)),  # inverts values >= threshold
    "solarize_add": solarize_add,
    # Factor 1 keeps the image. Factor 0 gives a grayscale image (saturation), a uniformly gray one (contrast), a black
    # one (brightness) or a smoothed one (sharpness).
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
}
GEOMETRIC_OPERATIONS: dict[str, Callable[[Image.Image, float, Interpolation], Image.Image]] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    # The argument of these two operations is a fraction of the width or height instead of a number of pixels.
    "translate_x_relative": lambda image, fraction, how: translate_x(image, fraction * image.width, how),
    "translate_y_relative": lambda image, fraction, how: translate_y(image, fraction * image.height, how),
    "rotate": rotate,
}


class Policy(Protocol):
    """The interface of augmentation policies, which change an image at random."""

    @property
    def num_uniforms(self) -> int:
        """Number of uniform random numbers that one call consumes."""
        ...

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """Returns the changed image, [H, W, 3] uint8.

        Args:
          image: [H, W, 3] uint8; not modified.
          uniforms: `num_uniforms` random numbers in [0, 1).
        """
        ...


def _linspace(maximum: float) -> tuple[float, ...]:
    """Returns the 31 evenly spaced strengths of TrivialAugment, from 0 to `maximum`."""
    return tuple(number * maximum / 30 for number in range(31))


def _signed(strengths: Sequence[float], *, center: float = 0.0) -> tuple[float, ...]:
    return tuple(center + sign * strength for strength in strengths for sign in (1, -1))


_PIXELS = _signed([int(pixels) for pixels in _linspace(32)])
# Name of an operation -> the arguments that TrivialAugment chooses from.
TRIVIAL_AUGMENT: dict[str, tuple[float, ...]] = {
    "identity": (0.0,),
    "shear_x": _signed(_linspace(0.99)),
    "shear_y": _signed(_linspace(0.99)),
    "translate_x": _PIXELS,
    "translate_y": _PIXELS,
    "rotate": _signed(_linspace(135)),
    "brightness": _signed(_linspace(0.99), center=1.0),
    "saturation": _signed(_linspace(0.99), center=1.0),
    "contrast": _signed(_linspace(0.99), center=1.0),
    "sharpness": _signed(_linspace(0.99), center=1.0),
    "posterize": tuple(8 - round(bits) for bits in _linspace(6)),
    "solarize": tuple(255 - strength for strength in _linspace(255)),
    "auto_contrast": (0.0,),
    "equalize": (0.0,),
}


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """TrivialAugment, wide (Müller and Hutter 2021): one of 14 operations with one of 31 strengths, chosen uniformly.

    Equals torchvision's `TrivialAugmentWide` except for the rounding of strengths: torchvision computes them in
    float32, so its 16th strength translates by 15 pixels instead of 16, and a few others differ by one gray level.
    Pixels outside the image are black.

    Attributes:
      bilinear: whether geometric operations interpolate bilinearly instead of taking the nearest pixel.
    """

    bilinear: bool = False
    num_uniforms: ClassVar[int] = 2

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation that geometric operations use, with black outside the image."""
        kernel = Image.Resampling.BILINEAR if self.bilinear else Image.Resampling.NEAREST
        return Interpolation(kernel, (0, 0, 0))

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """Implements `Policy.__call__`: applies one random operation."""
        u_operation, u_argument = uniforms
        name, arguments = _pick(tuple(TRIVIAL_AUGMENT.items()), u_operation)
        argument = _pick(arguments, u_argument)
        return np.asarray(apply_operation(name, Image.fromarray(image), argument, self.interpolation))


_ToArgument = Callable[[float, int], float]  # maps a strength in 0..1 and a sign, 1 or -1, to an operation's argument


def _up_to(maximum: float) -> _ToArgument:
    return lambda strength, sign: sign * (strength * maximum)


def _factor(strength: float, sign: int) -> float:
    return max(0.1, 1.0 + sign * (strength * 0.9))


# Name of an operation -> its argument as a function of strength (0 to 1) and sign (1 or -1).
RAND_AUGMENT: dict[str, _ToArgument] = {
    "auto_contrast": _up_to(0),
    "equalize": _up_to(0),
    "invert": _up_to(0),
    "rotate": _up_to(30),
    "posterize": lambda strength, _: 4 - int(strength * 4),
    "solarize": lambda strength, _: 256 - int(strength * 256),
    "solarize_add": lambda strength, _: int(strength * 110),
    "saturation": _factor,
    "contrast": _factor,
    "brightness": _factor,
    "sharpness": _factor,
    "shear_x": _up_to(0.3),
    "shear_y": _up_to(0.3),
    "translate_x_relative": _up_to(0.45),
    "translate_y_relative": _up_to(0.45),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2019) with the 15 operations and ranges of timm's `rand-m<M>-mstd<S>-inc1`.

    Operations are chosen uniformly and independently. As in timm with its defaults for ImageNet, interpolation is
    bilinear or bicubic at random, and pixels outside the image have the mean color of ImageNet. A magnitude of 0 is
    not the identity: auto_contrast, equalize and invert have no strength, and posterize starts at 4 bits.

    Attributes:
      num_ops: number of operations per image, applied one after another.
      magnitude: mean strength of the operations, 0 to 10.
      magnitude_std: standard deviation of the strength of each operation; strengths are clipped to 0..10.
      probability: probability that a chosen operation is applied.
    """

    num_ops: int = 2
    magnitude: float = 9.0
    magnitude_std: float = 0.0
    probability: float = 1.0
    MAX_MAGNITUDE: ClassVar[float] = 10.0
    KERNELS: ClassVar = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    FILL: ClassVar = (124, 116, 104)

    @property
    def num_uniforms(self) -> int:
        """Implements `Policy.num_uniforms`: five random numbers per operation."""
        return 5 * self.num_ops

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """Implements `Policy.__call__`: applies `num_ops` random operations."""
        result = Image.fromarray(image)
        for number in range(self.num_ops):
            u_applied, u_operation, u_magnitude, u_sign, u_kernel = uniforms[5 * number : 5 * number + 5]
            if u_applied >= self.probability:
                continue
            name, to_argument = _pick(tuple(RAND_AUGMENT.items()), u_operation)
            argument = to_argument(self._strength(u_magnitude), _pick((1, -1), u_sign))
            result = apply_operation(name, result, argument, Interpolation(_pick(self.KERNELS, u_kernel), self.FILL))
        return np.asarray(result)

    def _strength(self, uniform: float) -> float:
        """Samples a magnitude from a normal distribution, clips it to 0..10 and divides it by 10."""
        deviation = statistics.NormalDist().inv_cdf(max(uniform, 2.0**-54))  # inv_cdf(0) is an error
        return min(max(self.magnitude + self.magnitude_std * deviation, 0.0), self.MAX_MAGNITUDE) / self.MAX_MAGNITUDE


def create_policy(
    name: str = "none",
    *,
    num_ops: int = RandAugment.num_ops,
    magnitude: float = RandAugment.magnitude,
    magnitude_std: float = RandAugment.magnitude_std,
    probability: float = RandAugment.probability,
    bilinear: bool = TrivialAugment.bilinear,
) -> Policy | None:
    """Makes the augmentation policy with this name, None for 'none'; options of another policy have no effect.

    Raises:
      UsageError: unknown name.
    """
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
