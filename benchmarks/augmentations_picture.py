"""Draws what the network sees of training images: crops, host_augment, erasing and mixing, a row each.

    python benchmarks/augmentations_picture.py [--out docs/images/augmentations.png]

Every image takes the way it takes in training: the loader crops and resizes it and applies the policy, and the same
function as in the step (`gradients.make_train_input`) mirrors, normalises, erases and mixes, with keys of its row. What
comes out is brought back to pixels. A column is one image throughout; the rows from the policies on start from the
first row's crop, so that a row shows one thing.

Images: the portrait of Grace Hopper that comes with matplotlib (US Navy, public domain); a map drawn of the elevations
near Jacksboro, Tennessee, which do so too; and one of the generated photos of the input benchmark. In the rows of mixup
and cutmix the neighbour of the first image is the last.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, it finds its siblings too

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
_SEED = 99  # one whose draws differ well from each other
_SIDE, _GAP, _MARGIN = 144, 8, 168  # pixels: of an image, between them, left of them
_LINE, _BETWEEN = 15, 16  # pixels: of a line of a caption, between rows
_DPI = 100
_INK, _FAINT = "#1f2328", "#59636e"
# How the argument of an operation is written; those without one are not here.
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
    """One way to treat all the images."""

    title: str
    about: str
    crop: Crop
    policy: Policy | None = None
    flip: bool = False
    erasing: Erasing | None = None
    mixing: Mixing | None = None


class Shown(NamedTuple):
    """A row of the picture."""

    images: np.ndarray  # [B, side, side, 3] uint8
    captions: list[str]


class Pictures:
    """The images, over and over; a `Source`."""

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


class Telling:
    """A policy that remembers which operations each image got."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self.num_uniforms = policy.num_uniforms
        self.told: list[str] = []

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        """See `Policy`."""
        operations = []

        def apply(name: str, image: Image.Image, argument: float, interpolation: Any) -> Image.Image:
            operations.append(f"{name.removesuffix('_relative')} {_ARGUMENTS.get(name, '').format(argument)}".strip())
            return original(name, image, argument, interpolation)

        original = host_augment.apply_operation
        with mock.patch.object(
            host_augment, "apply_operation", apply
        ):  # records the operations that the policy chooses
            changed = self._policy(image, uniforms)
        self.told.append("\n".join(operations).replace("_", " ").replace("-", "\N{MINUS SIGN}"))
        return changed


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the rows and draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_OUT, help="PNG file (%(default)s)")
    parser.add_argument("--columns", type=int, default=6, help="images of a row (%(default)s)")
    options = parser.parse_args(argv)
    source, rows = Pictures(options.columns), make_rows()
    figure = draw(rows, [show(row, source) for row in rows])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save(figure, options.out)
    print(f"{options.out}  {options.out.stat().st_size / 1000:,.0f} kB")


def make_rows() -> list[Row]:
    """The rows, with the options of `configs/default.py` where recipes do not agree."""
    config = default.get_config()
    whole, crop = Central(_SIDE, padding=0), create_train_crop(size=_SIDE, **config.data.train_crop)
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
    """Sends one batch, an image a column, through the loader and through the input of the training step."""
    policy = Telling(row.policy) if row.policy else None
    loader = Loader(
        source,
        batch_size=len(source),
        training=False,
        crops=row.crop,
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
    seen = jax.tree.map(np.asarray, jax.jit(train_input)(keys, batch))
    images = np.rint(seen.images * std + mean).clip(0, 255).astype(np.uint8)
    return Shown(images, policy.told if policy else captions(row, np.asarray(batch.label), seen))


def captions(row: Row, labels: np.ndarray, seen: Mixed) -> list[str]:
    """What there is to say of each image that had no policy."""
    names = Pictures.class_names
    if row.mixing:
        return [
            f"{100 * share:.0f} % {names[label]}\n{100 - 100 * share:.0f} % {names[partner]}"
            for label, partner, share in zip(labels, seen.partner, seen.share, strict=True)
        ]
    return [names[label] for label in labels]


def draw(rows: Sequence[Row], shown: Sequence[Shown]) -> Figure:
    """Lays the rows out, pixel for pixel."""
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
    """Writes a PNG of 256 colours, dithered: a third of the bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    picture = Image.open(file).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    picture.quantize(palette=palette).save(path, optimize=True)


def _portrait() -> np.ndarray:
    return np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))


def _mountains() -> np.ndarray:
    """Relief in the light of the afternoon."""
    with np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as file:
        elevation = file["elevation"].astype(float)
    light = colors.LightSource(azdeg=315, altdeg=45)
    low, high = elevation.min(), elevation.max()
    tones = colors.Normalize(low - 0.6 * (high - low), high)  # without the blue of the sea
    shaded = light.shade(elevation, colormaps["gist_earth"], norm=tones, blend_mode="soft", vert_exag=0.05, dx=1, dy=1)
    return np.rint(shaded[..., :3] * 255).astype(np.uint8)


def _pebbles() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photos.photo(4, seed=0))))


if __name__ == "__main__":
    main()
