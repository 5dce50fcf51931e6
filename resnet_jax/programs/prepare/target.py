"""The data set that --mode=prepare makes: its name, its directory, and the disk space that it needs."""

import contextlib
import dataclasses
import os
import shlex
import shutil
from pathlib import Path

from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.errors import UsageError
from resnet_jax.files import locked
from resnet_jax.programs import recipes
from resnet_jax.programs.prepare.marking import Marking, find_tool
from resnet_jax.programs.prepare.rewriting import Rewrite
from resnet_jax.programs.prepare.shrinking import Shrink

IMAGENET, VERSION = "imagenet2012", "6.0.0"
RECORD_OVERHEAD = 512  # bytes per image that are stored besides the image file: name, label, boxes, ArrayRecord
_FILE_OVERHEAD = 1 << 20  # bytes per data set for padding: ArrayRecord pads each shard to a multiple of 64 KiB
_SPARE = 1.01  # factor by which the required disk space exceeds the estimated size


@dataclasses.dataclass(frozen=True)
class Target:
    """The data set to be made.

    Attributes:
      root: directory of prepared data sets.
      shrink: re-encodes images at a smaller size; None: images keep their size.
      marking: adds restart markers to JPEG files; None: none are added.
      base: name of the data set without that of its TFDS config.
    """

    root: Path
    shrink: Shrink | None
    marking: Marking | None = None
    base: str = IMAGENET

    @property
    def rewrite(self) -> Rewrite:
        """How image files are changed before they are stored."""
        return Rewrite(self.shrink, self.marking)

    @property
    def variant(self) -> str | None:
        """Name of the TFDS config; None for images stored as they are."""
        return self.rewrite.variant

    @property
    def name(self) -> str:
        """The value of `config.data.name` for this data set."""
        return "/".join(filter(None, (self.base, self.variant)))

    @property
    def directory(self) -> Path:
        """The directory in which TFDS expects the data set."""
        return self.root / self.name / VERSION

    @property
    def settings(self) -> dict[str, object]:
        """JSON values for the metadata of the data set: how images were changed."""
        return {
            "resize_short_side": None if self.shrink is None else self.shrink.short_side,
            "quality": None if self.shrink is None else self.shrink.quality,
            "restart_markers": self.marking is not None,
        }


def make_target(
    root: Path,
    *,
    resize_short_side: int | None,
    quality: int,
    restart_markers: bool,
    verify_all: bool,
    max_pixels: int = MAX_PIXELS,
    base: str = IMAGENET,
) -> Target:
    """Checks the settings for storing images, and returns the target.

    `root` and `base` are attributes of `Target`; the other arguments are those of `prepare`.

    Raises:
      UsageError: a number is out of range, or the program that writes restart markers is not installed.
    """
    if resize_short_side is not None and resize_short_side < 1:
        raise UsageError(f"config.prepare.resize_short_side={resize_short_side} must be at least 1 pixel")
    if not 1 <= quality <= 100:
        raise UsageError(f"config.prepare.quality={quality} must be in 1..100")
    shrink = None
    if resize_short_side is not None:
        shrink = Shrink(resize_short_side, quality, max_pixels, markers=restart_markers)
    marking = Marking(find_tool(), verify_all=verify_all, max_pixels=max_pixels) if restart_markers else None
    return Target(root, shrink, marking, base)


def lock(target: Target) -> contextlib.AbstractContextManager[None]:
    """Creates the data set's parent directory and locks it, so that no other process prepares the same data set."""
    parent = target.directory.parent
    cure = "name another directory with --config.data.data_dir=DIR or --config.prepare.output=DIR"
    return locked(parent / f".{target.directory.name}.lock", what=f"data directory {parent}", cure=cure)


def check_space(root: Path, num_bytes: int) -> None:
    """Raises UsageError if the disk has less free space than a data set of `num_bytes` bytes needs."""
    needed, free = round(num_bytes * _SPARE) + _FILE_OVERHEAD, shutil.disk_usage(root).free
    if free < needed:
        raise UsageError(
            f"the data set needs {needed / 1e9:,.1f} GB and {root} has {free / 1e9:,.1f} GB free: free space, name "
            "another directory with --config.data.data_dir=DIR (--config.prepare.output=DIR for a copy), or store "
            "smaller images with --config.prepare.resize_short_side=320"
        )


def count_threads(num_threads: int | None) -> int:
    """Returns `num_threads`, or for None two per CPU core and at least 8. Raises UsageError if it is less than 1."""
    threads = max(8, 2 * (os.cpu_count() or 1)) if num_threads is None else num_threads
    if threads < 1:
        raise UsageError(f"config.prepare.num_threads={threads} must be at least 1")
    return threads


def train_command(target: Target) -> str:
    """Returns the command that trains on the data set."""
    command = [*recipes.command("resnet50"), f"--config.data.data_dir={shlex.quote(str(target.root))}"]
    if target.name != IMAGENET:
        command.append(f"--config.data.name={target.name}")
    return " ".join(command)
