"""Plots augmented training images as the network gets them: crops, augmentation, erasing and mixing, one per row.

    python benchmarks/augmentations_picture.py [--out docs/images/augmentations.png]

Images are processed as in training: the loader crops, resizes and augments them on the host, and the function that the
training step uses (`gradients.make_train_input`) flips, normalizes, erases and mixes them, with the keys of their rows.
The result is converted back to pixels. A column shows one image. Every row but that of the random crop starts from the
central crop of the first row, so that a row shows one augmentation.

Images: the portrait of Grace Hopper from matplotlib's sample data (US Navy, public domain); a map of the elevations
near Jacksboro, Tennessee, also from matplotlib; and a generated photo of the input benchmark. In the rows of mixup and
cutmix the first image is mixed with the last.
"""

import argparse
import dataclasses
import functools
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import cbook, colormaps, colors
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import photos
from resnet_jax.configs import default
from resnet_jax.data import host_augment
from resnet_jax.data.batch import Batch
from resnet_jax.data.crops import Central, Crop, create_train_crop
from resnet_jax.data.host_augment import Policy, create_policy
from resnet_jax.data.loader import Loader
from resnet_jax.data.on_device import Erasing, Mixed, Mixing, normalize, row_keys
from resnet_jax.data.sources import Example
from resnet_jax.training.gradients import make_train_input

_OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "augmentations.png"
_SEED = 99  # chosen so that the columns of a row differ clearly
_SIDE, _GAP, _MARGIN = 144, 8, 168  # pixels: side of an image, gap between images, left margin
_LINE, _BETWEEN = 15, 16  # pixels: height of a line of a caption, gap between rows
_DPI = 100
_INK, _FAINT = "#1f2328", "#59636e"
# Format of the argument of an operation in captions; operations without an argument are not listed.
_ARGUMENTS = {
    "rotate": "{:.0f}°",
    "posterize": "to {:.0f} bit",
    "solarize": "from {:.0f}",
    "solarize_add": "{:+.0f}",
    "translate_x": "{:.0f} px",
    "translate_y": "{:.0f} px",
    "translate_x_relative": "{:.2f} side",
    "translate_y_relative": "{:.2f} side",
    "shear_x": "{:.2f}",
    "shear_y": "{:.2f}",
    "saturation": "\N{MULTIPLICATION SIGN} {:.2f}",
    "contrast": "\N{MULTIPLICATION SIGN} {:.2f}",
    "brightness": "\N{MULTIPLICATION SIGN} {:.2f}",
    "sharpness": "\N{MULTIPLICATION SIGN} {:.2f}",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One augmentation, applied to all images."""

    title: str
    about: str
    crop: Crop
    policy: Policy | None = None
    flip: bool = False
    erasing: Erasing | None = None
    mixing: Mixing | None = None


class Shown(NamedTuple):
    """The images and captions of a row."""

    images: np.ndarray  # [B, side, side, 3] uint8
    captions: list[str]


class Pictures:
    """A `Source` that repeats the three images."""

    name = "pictures"
    class_names: tuple[str, ...] = ("portrait", "mountains", "pebbles")

    def __init__(self, count: int):
        self._count, self._images = count, (_portrait(), _mountains(), _pebbles())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        label = index % len(self._images)
        return Example(self._images[label], label)

    def where(self, index: int) -> str:
        """See `Source`."""
        return f"{self.name}[{index}]"


class Recorder:
    """A policy that records the operations that it applies to each image."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self.num_uniforms = policy.num_uniforms
        self.captions: list[str] = []

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """See `Policy`."""
        operations = []

        def apply(name: str, image: Image.Image, argument: float, interpolation: Any) -> Image.Image:
            operations.append(f"{name.removesuffix('_relative')} {_ARGUMENTS.get(name, '').format(argument)}".strip())
            return original(name, image, argument, interpolation)

        original = host_augment.apply_operation
        with mock.patch.object(host_augment, "apply_operation", apply):
            changed = self._policy(image, uniforms)
        self.captions.append("\n".join(operations).replace("_", " ").replace("-", "\N{MINUS SIGN}"))
        return changed


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the rows, plots them and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_OUT, help="PNG file (%(default)s)")
    parser.add_argument("--columns", type=int, default=6, help="images per row (%(default)s)")
    options = parser.parse_args(argv)
    source, rows = Pictures(options.columns), make_rows()
    figure = plot_rows(rows, [show(row, source) for row in rows])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save(figure, options.out)
    print(f"{options.out}  {options.out.stat().st_size / 1000:,.0f} kB")


def make_rows() -> list[Row]:
    """Returns the rows; options on which recipes differ are those of `configs/default.py`."""
    config = default.get_config()
    whole, crop = Central(_SIDE, fraction=1.0), create_train_crop(size=_SIDE, **config.data.train_crop)
    augment = {**config.data.augment, "name": "rand_augment"}
    erasing = Erasing(**{**config.input.erasing, "probability": 1.0})
    mixing = functools.partial(Mixing, cutmix_share=0.5, probability=1.0, group_size=None)
    return [
        Row("original", "the largest square", whole),
        Row("random crop, flip", "8 to 100 % of the area,\naspect 3/4 to 4/3", crop, flip=True),
        Row("TrivialAugment", "one operation,\nany strength", whole, host_augment.TrivialAugment()),
        Row(
            "RandAugment",
            f"{augment['num_ops']} operations,\nmagnitude {augment['magnitude']:g} of 10",
            whole,
            create_policy(**augment),
        ),
        Row("random erasing", "to the mean", whole, erasing=erasing),
        Row("random erasing", "to noise", whole, erasing=dataclasses.replace(erasing, noise=True)),
        Row(
            "mixup",
            "alpha 1, with its\nneighbour on the left",
            whole,
            mixing=mixing(mixup_alpha=1.0, cutmix_alpha=0.0),
        ),
        Row(
            "cutmix",
            "alpha 1, with its\nneighbour on the left",
            whole,
            mixing=mixing(mixup_alpha=0.0, cutmix_alpha=1.0),
        ),
    ]


def show(row: Row, source: Pictures) -> Shown:
    """Processes one batch, one image per column, with the loader and the preprocessing of the training step."""
    policy = Recorder(row.policy) if row.policy else None
    loader = Loader(
        source,
        batch_size=len(source),
        training=False,
        crops=row.crop,
        resize="area",
        augment=policy,
        seed=_SEED,
    )
    batch = Batch(*map(jnp.asarray, loader.batch(0).batch))
    mean, std = (tuple(default.get_config().input[key]) for key in ("mean", "std"))
    train_input = make_train_input(
        preprocess=functools.partial(normalize, mean=mean, std=std, dtype=jnp.float32),
        flip=row.flip,
        erasing=row.erasing,
        mixing=row.mixing,
    )
    keys = row_keys(jax.random.fold_in(jax.random.key(_SEED), 0), jnp.arange(len(source)))
    mixed = jax.tree.map(np.asarray, jax.jit(train_input)(keys, batch))
    images = np.rint(mixed.images * std + mean).clip(0, 255).astype(np.uint8)
    return Shown(images, policy.captions if policy else captions(row, np.asarray(batch.label), mixed))


def captions(row: Row, labels: np.ndarray, mixed: Mixed) -> list[str]:
    """Returns the captions of a row without a policy: class names, with their shares where images are mixed."""
    names = Pictures.class_names
    if row.mixing:
        return [
            f"{100 * share:.0f} % {names[label]}\n{100 - 100 * share:.0f} % {names[partner]}"
            for label, partner, share in zip(labels, mixed.partner, mixed.share, strict=True)
        ]
    return [names[label] for label in labels]


def plot_rows(rows: Sequence[Row], shown: Sequence[Shown]) -> Figure:
    """Plots the rows below each other, without resampling the images."""
    lines = [1 + max(caption.count("\n") for caption in own.captions) for own in shown]
    heights = [_SIDE + _LINE * count + _BETWEEN for count in lines]
    width, height = _MARGIN + len(shown[0].images) * (_SIDE + _GAP), _GAP + sum(heights)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def write(text: str, x: int, top: int, **style: Any) -> None:
        figure.text(x / width, 1 - top / height, text, va="top", linespacing=1.3, **style)

    for number, (row, own) in enumerate(zip(rows, shown, strict=True)):
        top = _GAP + sum(heights[:number])
        write(row.title, _GAP, top + 2, size=10.5, weight="bold", color=_INK)
        write(row.about, _GAP, top + 24, size=8.5, color=_FAINT)
        for column, (image, caption) in enumerate(zip(own.images, own.captions, strict=True)):
            left = _MARGIN + column * (_SIDE + _GAP)
            figure.figimage(image, left, height - top - _SIDE, origin="upper")
            write(caption, left, top + _SIDE + 4, size=8.5, color=_FAINT)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG with 256 dithered colors, a third of the size of one with full color."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    picture = Image.open(file).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    picture.quantize(palette=palette).save(path, optimize=True)


def _portrait() -> np.ndarray:
    return np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))


def _mountains() -> np.ndarray:
    """A shaded relief map of the elevations, [H, W, 3] uint8."""
    with np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as file:
        elevation = file["elevation"].astype(float)
    light = colors.LightSource(azdeg=315, altdeg=45)
    low, high = elevation.min(), elevation.max()
    tones = colors.Normalize(low - 0.6 * (high - low), high)  # skips the blue part of the color map
    shaded = light.shade(elevation, colormaps["gist_earth"], norm=tones, blend_mode="soft", vert_exag=0.05, dx=1, dy=1)
    return np.rint(shaded[..., :3] * 255).astype(np.uint8)


def _pebbles() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photos.photo(4, seed=0))))


if __name__ == "__main__":
    main()
