"""Checksums of the results of torchvision and timm on two images; a program, run where both are installed.

python -m tests.data.augmentation_reference tests/golden/augmentations.json

Neither is a requirement of this package nor of its tests, which compare with what the file holds.
"""

import json
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

from PIL import Image
from timm.data import auto_augment
from torchvision.transforms import InterpolationMode, TrivialAugmentWide, autoaugment

from tests.data.patterns import patterns

BINS = (0, 1, 7, 15, 22, 30)  # indices of TrivialAugment's 31 strengths
# Magnitudes of RandAugment; not 10: timm would posterize to 0 bits, which Pillow 13 rejects.
LEVELS = (0.0, 3.5, 7.0, 9.9)
SIGNS = (1, -1)
KERNELS = ("BILINEAR", "BICUBIC")
MEAN_COLOR = (124, 116, 104)  # `img_mean` of timm's create_transform for ImageNet


def checksum(image):
    """Returns the CRC-32 of the pixels."""
    return zlib.crc32(image.tobytes())


def trivial_augment(name, image):
    """Returns the checksums of an operation of TrivialAugmentWide for each bin and, if it is signed, both signs."""
    strengths, signed = TrivialAugmentWide()._augmentation_space(31)[name]
    for number in BINS if strengths.ndim else (0,):
        strength = float(strengths[number]) if strengths.ndim else 0.0
        if signed:  # avoids float32 rounding, which depends on the processor
            strength = number * round(float(strengths[30]), 6) / 30
        for sign in SIGNS if signed else (1,):
            options = {"interpolation": InterpolationMode.NEAREST, "fill": None}
            yield checksum(autoaugment._apply_op(image, name, sign * strength, **options))


def rand_augment(name, image):
    """Returns the checksums of an operation of `rand-m<M>-inc1` for each level, sign and kernel."""
    for level in LEVELS:
        for sign in SIGNS:
            auto_augment._randomly_negate = lambda value, sign=sign: sign * value
            for kernel in KERNELS:
                options = {"img_mean": MEAN_COLOR, "interpolation": Image.Resampling[kernel]}
                yield checksum(auto_augment.AugmentOp(name, prob=1.0, magnitude=level, hparams=options)(image))


def main(path):
    """Writes the file, one line per operation and image."""
    images = {name: Image.fromarray(pixels) for name, pixels in patterns().items()}
    entries = {
        "source": ", ".join(f"{package} {version(package)}" for package in ("torchvision", "timm", "pillow")),
        "command": "python -m tests.data.augmentation_reference tests/golden/augmentations.json",
        "checksums of": "tests/data/patterns.py",
    }
    tables = {
        "torchvision": (TrivialAugmentWide()._augmentation_space(31), trivial_augment),
        "timm": (auto_augment._RAND_INCREASING_TRANSFORMS, rand_augment),
    }
    for package, (names, checksums) in tables.items():
        for name in names:
            for title, image in images.items():
                entries[f"{package} {name} {title}"] = list(checksums(name, image))
    for name, (strengths, signed) in TrivialAugmentWide()._augmentation_space(31).items():
        entries[f"torchvision {name} strengths"] = {"signed": signed, "strengths": strengths.reshape(-1).tolist()}
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
