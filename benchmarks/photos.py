"""Generates JPEG files whose decoding costs as much as that of photographs, and finds the photos of a folder.

An image is a "dead leaves" scene (Lee, Mumford and Huang 2001): opaque shapes of one color each, whose radii follow the
power law that gives edges at all scales, as in photographs. Each shape has 1/f texture of its own strength, some areas
are out of focus, and sensor noise is added. Sizes, bytes and chroma subsampling are those of ImageNet: mostly 500 x 375
or 375 x 500 pixels, some other sizes, 110 kB on average, 4:2:0.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from resnet_jax.errors import UsageError

_TEXTURE_SIDE = 2048
_LARGEST_SIDE = 1600
_ASPECTS, _ASPECT_SHARES = (4 / 3, 3 / 2, 1.0, 16 / 9), (0.62, 0.25, 0.08, 0.05)  # long side / short side, shares
_SHAPES = 500  # shapes per scene
_SMALLEST_RADIUS, _LARGEST_RADIUS = 0.01, 0.6  # radius of a shape / longer side


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of a set of JPEG files."""

    count: int
    mean_kilobytes: float  # mean size in units of 1,000 bytes
    mean_width: float  # pixels
    mean_height: float  # pixels
    share_420: float  # share of files with chroma subsampling 4:2:0


def photo(index: int, *, seed: int) -> bytes:
    """Returns image `index` of the set `seed` as JPEG bytes; equal arguments give equal bytes."""
    rng = np.random.default_rng([seed, index])
    height, width = _size(rng)
    scene = _scene(rng, height, width)
    return simplejpeg.encode_jpeg(scene, quality=int(rng.integers(93, 98)), colorsubsampling="420")


def write(folder: Path, *, count: int, seed: int) -> None:
    """Writes `count` photos as <folder>/<number>.jpg; the folder is renamed into place once it is complete."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)

    def write_one(index: int) -> None:
        (unfinished / f"{index:06}.jpg").write_bytes(photo(index, seed=seed))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write_one, range(count)))
    if folder.exists():
        folder.rmdir()  # callers only write into an empty folder
    unfinished.rename(folder)


def find(folder: Path, *, count: int) -> list[Path]:
    """Returns up to `count` JPEG files below a folder, evenly spaced in the sorted list. Raises UsageError if none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise UsageError(f"no .jpg or .jpeg file below {folder}: name a folder of photos, or a new one to be filled")
    count = min(count, len(files))
    return [files[number * len(files) // count] for number in range(count)]


def link(files: Sequence[Path], root: Path) -> None:
    """Makes <root>/train/photos and <root>/val/photos with links to the files, a layout that every loader reads."""
    for split, members in (("train", files), ("val", files[:1])):
        folder = root / split / "photos"
        folder.mkdir(parents=True)
        for number, file in enumerate(members):
            (folder / f"{number:06}.jpg").symlink_to(file.resolve())


def with_markers(folder: Path) -> Path:
    """Returns the folder that has the same photos as `folder`, but with restart markers."""
    return folder.with_name(f"{folder.name}_markers")


def statistics(files: Sequence[Path]) -> Statistics:
    """Returns statistics of the files; reading them also loads them into the page cache."""
    encoded = [file.read_bytes() for file in files]
    heights, widths, _, sampling = zip(*map(simplejpeg.decode_jpeg_header, encoded), strict=True)
    return Statistics(
        count=len(files),
        mean_kilobytes=float(np.mean([len(data) for data in encoded])) / 1000,
        mean_width=float(np.mean(widths)),
        mean_height=float(np.mean(heights)),
        share_420=sampling.count("420") / len(files),
    )


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Samples height and width: the longer side is 500 pixels in three of four images, else log-normal around 500."""
    long = 500 if rng.random() < 0.75 else int(np.clip(500 * math.exp(rng.normal(0, 0.45)), 120, _LARGEST_SIDE))
    short = round(long / rng.choice(_ASPECTS, p=_ASPECT_SHARES))
    return (long, short) if rng.random() < 0.25 else (short, long)


def _scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Renders a scene, [height, width, 3] uint8."""
    shapes = _shapes(rng, height, width)
    colour, texture_strength = shapes[..., :3].astype(np.float32), shapes[..., 3:].astype(np.float32) / 255
    blurred = cv2.GaussianBlur(colour, (0, 0), rng.uniform(0.5, 3.0))
    in_focus = _texture_crop(rng, height, width)[..., :1] > rng.normal(0, 0.7)
    colour = np.where(in_focus, colour, blurred)
    strength = rng.uniform(8, 34) * texture_strength * np.where(in_focus, 1.0, 0.4).astype(np.float32)
    scene = colour + strength * _texture_crop(rng, height, width)
    scene += rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0.5, 4.0)
    return np.clip(scene, 0, 255).astype(np.uint8)


def _shapes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Renders overlapping ellipses, [height, width, 4] uint8: color and texture strength per pixel."""
    long = max(height, width)
    low, high = (_SMALLEST_RADIUS * long) ** -2, (_LARGEST_RADIUS * long) ** -2
    radii = (high + rng.random(_SHAPES) * (low - high)) ** -0.5  # density ~ radius^-3
    centers = rng.random((_SHAPES, 2)) * (width, height)
    flatness, angles = rng.uniform(0.3, 1.0, _SHAPES), rng.uniform(0, 180, _SHAPES)
    luminance, chroma = rng.uniform(10, 245, (_SHAPES, 1)), rng.normal(0, 16, (_SHAPES, 3))
    colours = np.concatenate([np.clip(luminance + chroma, 0, 255), rng.uniform(0, 255, (_SHAPES, 1))], axis=1)
    canvas = np.empty((height, width, 4), np.uint8)
    canvas[:] = colours[0]
    for center, radius, flat, angle, colour in zip(centers, radii, flatness, angles, colours, strict=True):
        box = (center.tolist(), (2 * radius, 2 * radius * flat), float(angle))
        cv2.ellipse(canvas, box, colour.tolist(), thickness=-1, lineType=cv2.LINE_AA)
    return canvas


def _texture_crop(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns a random crop of the texture, randomly flipped, [height, width, 3] float32."""
    top, left = rng.integers(_TEXTURE_SIDE - height), rng.integers(_TEXTURE_SIDE - width)
    crop = _texture()[top : top + height, left : left + width]
    return crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


@functools.cache
def _texture() -> np.ndarray:
    """Returns nearly gray 1/f noise with a standard deviation of about 1: [side, side, 3] float32."""
    rng = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(_TEXTURE_SIDE)[:, None], np.fft.rfftfreq(_TEXTURE_SIDE)[None]
    # Constant at low frequencies, so that no crop is bright all over.
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / 256)
    fields = []
    for _ in range(4):
        white = np.fft.rfft2(rng.standard_normal((_TEXTURE_SIDE, _TEXTURE_SIDE)))
        field = np.fft.irfft2(white * amplitude, s=(_TEXTURE_SIDE, _TEXTURE_SIDE))
        fields.append(field / field.std())
    return np.stack([fields[0] + 0.25 * field for field in fields[1:]], axis=-1).astype(np.float32)
