"""Draws a small data set in class folders, for those who want to try docs/own_photos.md without photographs.

    python benchmarks/example_photos.py shapes [--per_class 90] [--seed 0]

Writes shapes/<class>/<number>.jpg: circles, crosses, squares and triangles of random size, color, angle and position on
uneven, noisy backgrounds, in JPEG files of 120 to 240 pixels. The same numbers always give the same files.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CORNERS = {"circles": 40, "crosses": 12, "squares": 4, "triangles": 3}


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """Draws one image: RGB, with sides of 120 to 240 pixels."""
    width, height = (int(side) for side in rng.integers(120, 241, 2))
    blurred = Image.fromarray(rng.integers(80, 176, (6, 6, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    image = blurred.filter(ImageFilter.GaussianBlur(2))
    radius = min(width, height) * rng.uniform(0.2, 0.4)
    center = (rng.uniform(radius, width - radius), rng.uniform(radius, height - radius))
    color = tuple(int(value) for value in rng.integers(0, 256, 3))
    ImageDraw.Draw(image).polygon(_outline(shape, center, radius, rng.uniform(0, 2 * math.pi)), fill=color)
    noise = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _outline(shape: str, center: tuple[float, float], radius: float, angle: float) -> list[tuple[float, float]]:
    """Returns the corners of a shape: those of a regular polygon, or of a cross whose arms are a third as wide."""
    count = CORNERS[shape]
    corners = []
    for index in range(count):
        turn, reach = 2 * math.pi * index / count, 1.0
        if shape == "crosses":  # of every three corners, one is an inner one
            arm, corner = divmod(index, 3)
            turn = math.pi / 2 * arm + (-0.32, 0.32, math.pi / 4)[corner]
            reach = (1.0, 1.0, 0.45)[corner]
        corners.append(
            (
                center[0] + radius * reach * math.cos(angle + turn),
                center[1] + radius * reach * math.sin(angle + turn),
            )
        )
    return corners


def write(directory: Path, per_class: int, seed: int = 0) -> None:
    """Writes `per_class` images of each shape to `directory`, which is made if it does not exist."""
    rng = np.random.default_rng(seed)
    for shape in CORNERS:
        (directory / shape).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            draw(shape, rng).save(directory / shape / f"{number:03d}.jpg", quality=90)


def main() -> None:
    """Parses the command line and writes the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--per_class", type=int, default=90, help="images of each class")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other images")
    options = parser.parse_args()
    write(options.directory, options.per_class, options.seed)
    print(f"{options.per_class * len(CORNERS):,} images of {len(CORNERS)} classes in {options.directory}")


if __name__ == "__main__":
    main()
