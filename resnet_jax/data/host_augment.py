"""Augmentation policies on the host: which operations an image gets, and how strong they are.

A policy maps a cropped image and some uniform numbers to an image: a pure function, as a crop is. It comes before the
random flip, which is made on the devices; in the references it comes after. The distribution is the same, as every
operation that moves pixels has a random sign, but for the vertical shear: the edge that stays is the left one here,
and so the right one after a flip.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from PIL import Image

from resnet_jax.data.operations import Sampling, apply
from resnet_jax.errors import UsageError

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
