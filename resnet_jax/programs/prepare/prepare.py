"""Converts the archives of ILSVRC2012 (ImageNet) to a TFDS data set with random access."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from resnet_jax.data.hashing import permute
from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.data.sources.tfds import data_root
from resnet_jax.distributed.signals import STOPPED, Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.files import locked
from resnet_jax.local_paths import local_path
from resnet_jax.programs import recipes
from resnet_jax.programs.prepare.archives import Images
from resnet_jax.programs.prepare.builder import Imagenet2012, Split
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.programs.prepare.examples import Example, ExampleMaker
from resnet_jax.programs.prepare.shrinking import Shrink
from resnet_jax.programs.prepare.survey import Contents, archives_in, survey

logger = logging.getLogger(__name__)

_RECORD_OVERHEAD = 512  # bytes per image for name, label, boxes and ArrayRecord
_FILE_OVERHEAD = 1 << 20  # bytes per data set, because ArrayRecord pads each shard to a multiple of 64 KiB
_SPARE = 1.01  # factor by which the required disk space exceeds the estimated size
_SAMPLE = 64  # number of images that are shrunk to estimate the size of all shrunk images


@dataclasses.dataclass(frozen=True)
class Target:
    """The data set to be made."""

    root: Path  # directory of prepared data sets
    shrink: Shrink | None  # None: images are stored as they are

    @property
    def variant(self) -> str | None:
        """Name of the TFDS config; None for images stored as they are."""
        return None if self.shrink is None else self.shrink.name

    @property
    def name(self) -> str:
        """The value of `config.data.name` for this data set."""
        return "/".join(filter(None, (Imagenet2012.name, self.variant)))

    @property
    def directory(self) -> Path:
        """The directory in which TFDS expects the data set."""
        return self.root / self.name / str(Imagenet2012.VERSION)


def prepare(  # noqa: PLR0913  one argument for each config key
    *,
    archives: str | None,
    data_dir: str | None,
    allow_partial: bool,
    resize_short_side: int | None,
    quality: int,
    shuffle: bool,
    num_threads: int | None,
    max_image_pixels: int = MAX_PIXELS,
) -> int:
    """Makes the data set, unless it exists.

    Args:
      archives: directory that holds the archives of ILSVRC2012.
      data_dir: directory of prepared data sets; None: `TFDS_DATA_DIR` if set, else the default of TFDS.
      allow_partial: accept less than all of ILSVRC2012.
      resize_short_side: shorter side in pixels to which larger images are re-encoded; None: store images as they are.
      quality: JPEG quality of re-encoded images, 1 to 100.
      shuffle: store the images in a fixed random order of their names; otherwise read the archives front to back and
        keep their order.
      num_threads: threads that read and re-encode; None: two per core, at least 8.
      max_image_pixels: number of pixels above which an image is not re-encoded, but stored as it is.

    Returns:
      The exit status: 0, or 75 after a signal.

    Raises:
      UsageError: an archive is missing, damaged, incomplete or cannot be read, or the disk is too small.
    """
    target, source = _target(data_dir, resize_short_side, quality, max_image_pixels), _source(archives)
    threads = max(8, 2 * (os.cpu_count() or 1)) if num_threads is None else num_threads
    if threads < 1:
        raise UsageError(f"config.prepare.num_threads={threads} must be at least 1")
    requests = StopRequests()
    requests.begin(saves=False)
    with Signals(requests.ask), _lock(target):
        if target.directory.exists():
            _check_existing(target, allow_partial=allow_partial)
            print(f"Nothing to do: {target.name} is prepared.", *_made_without(target, source), sep="\n")
        else:
            _remove_leftovers(target)
            try:
                contents = survey(source, requests, allow_partial=allow_partial, sequential=not shuffle)
                makers = {
                    split: ExampleMaker(images=images, boxes=contents.boxes, shrink=target.shrink, num_threads=threads)
                    for split, images in contents.images.items()
                }
                _write(target, contents, makers, requests, shuffle=shuffle)
            except StoppedError:
                print("Stopped: nothing of the data set is kept. Run the same command again to begin anew.")
                return STOPPED
    print(*_summary(target), sep="\n")
    return 0


def _target(data_dir: str | None, resize_short_side: int | None, quality: int, max_pixels: int) -> Target:
    if resize_short_side is not None and resize_short_side < 1:
        raise UsageError(f"config.prepare.resize_short_side={resize_short_side} must be at least 1 pixel")
    if not 1 <= quality <= 100:
        raise UsageError(f"config.prepare.quality={quality} must be in 1..100")
    shrink = None if resize_short_side is None else Shrink(resize_short_side, quality, max_pixels)
    return Target(data_root(data_dir), shrink)


def _source(archives: str | None) -> Path:
    if archives is None:
        raise UsageError(
            "config.prepare.archives is not set: name the directory of the archives of ILSVRC2012 with "
            "--config.prepare.archives=DIR (docs/data.md lists them)"
        )
    return local_path(archives, name="config.prepare.archives")


def _lock(target: Target) -> contextlib.AbstractContextManager[None]:
    """Creates the parent directory and locks it, so that no other process prepares the same data set."""
    parent = target.directory.parent
    cure = "name another directory with --config.data.data_dir=DIR"
    return locked(parent / f".{target.directory.name}.lock", what=f"data directory {parent}", cure=cure)


def _remove_leftovers(target: Target) -> None:
    """Removes incomplete data sets that killed processes left. The caller holds the lock, so nobody is writing them."""
    for path in target.directory.parent.glob(f"{tfds.core.constants.INCOMPLETE_PREFIX}*_{target.directory.name}"):
        logger.info("removing %s, left by an interrupted run", path)
        shutil.rmtree(path)


def _check_existing(target: Target, *, allow_partial: bool) -> None:
    try:
        missing = _read_metadata(target)["missing"]
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{target.directory} was not made by --mode=prepare: move or remove that directory") from None
    if missing and not allow_partial:
        raise UsageError(
            f"{target.directory} holds only a part of ILSVRC2012 ({'; '.join(missing)}): remove that directory to "
            "prepare all of it, or keep the part with --config.prepare.allow_partial=True"
        )


def _made_without(target: Target, source: Path) -> list[str]:
    """Returns a line with the archives in `source` that were absent when the existing data set was made; [] if none."""
    try:
        present = archives_in(source)
    except UsageError:
        return []  # unreadable archives are no error here, because the data set exists already
    used = {archive["name"] for archive in _read_metadata(target)["archives"]}
    added = " and ".join(name for name in present if name not in used)
    if not added:
        return []
    return [f"It was made without {added}: to include the missing data, remove {target.directory} and run again."]


def _write(
    target: Target, contents: Contents, makers: Mapping[str, ExampleMaker], requests: StopRequests, *, shuffle: bool
) -> None:
    sizes = {split: _estimated_bytes(maker) for split, maker in makers.items()}
    _check_space(target.root, sum(sizes.values()))
    total = sum(len(maker.images) for maker in makers.values())
    orders = {split: _order(maker.images, shuffle=shuffle) for split, maker in makers.items()}
    metadata: dict[str, Any] = contents.as_metadata() | {
        "resize_short_side": None if target.shrink is None else target.shrink.short_side,
        "quality": None if target.shrink is None else target.shrink.quality,
        # `ExampleMaker.examples` appends to these lists while the data set is written.
        "not_resized": {split: maker.not_shrunk for split, maker in makers.items()},
        "shuffled": shuffle,
        "fingerprint": _fingerprint(makers, orders),
    }
    with Counter("written", total=total, requests=requests) as counter, tempfile.TemporaryDirectory() as downloads:
        splits = {
            split: Split(
                examples=_counted(maker.examples(orders[split]), counter),
                num_examples=len(maker.images),
                num_bytes=sizes[split],
            )
            for split, maker in makers.items()
        }
        builder = Imagenet2012(data_dir=target.root, variant=target.variant, splits=splits, metadata=metadata)
        builder.download_and_prepare(download_dir=downloads)  # nothing is downloaded, but TFDS creates the directory


def _counted(examples: Iterator[Example], counter: Counter) -> Iterator[Example]:
    for example in examples:
        counter.add(1)
        yield example


def _order(images: Images, *, shuffle: bool) -> np.ndarray:
    """Returns the indices of the images in the order in which they are stored.

    If `shuffle`, this is a fixed random order, which depends only on the names of the images, not on the archive.
    """
    rows = np.arange(len(images))
    return np.argsort(images.names)[permute(rows, len(rows), key=0)] if shuffle else rows


def _fingerprint(makers: Mapping[str, ExampleMaker], orders: Mapping[str, np.ndarray]) -> str:
    """Returns eight hexadecimal digits of a SHA-256 over image names, order and boxes."""
    digest = hashlib.sha256()
    for split, rows in orders.items():
        digest.update(f"{split}\n".encode())
        maker = makers[split]
        for row in rows.tolist():
            name = maker.images.name(row)
            digest.update(name.encode() + b"\n" + maker.boxes.of(name).tobytes())
    return digest.hexdigest()[:8]


def _estimated_bytes(maker: ExampleMaker) -> int:
    """Estimates the size of a split in bytes; if its images are to be shrunk, by shrinking a sample of them."""
    images = maker.images
    size = int(images.sizes.sum())
    if maker.shrink is not None:
        rows = _order(images, shuffle=True)[:_SAMPLE]
        shrunk = sum(len(features["image"]) for _, features in maker.examples(rows))
        maker.not_shrunk.clear()  # the images of the sample are shrunk again when the split is written
        size = round(size * min(1.0, shrunk / int(images.sizes[rows].sum())))
    return size + _RECORD_OVERHEAD * len(images)


def _check_space(root: Path, num_bytes: int) -> None:
    needed, free = round(num_bytes * _SPARE) + _FILE_OVERHEAD, shutil.disk_usage(root).free
    if free < needed:
        raise UsageError(
            f"the data set needs {needed / 1e9:,.1f} GB and {root} has {free / 1e9:,.1f} GB free: free space, name "
            "another directory with --config.data.data_dir=DIR, or store smaller images with "
            "--config.prepare.resize_short_side=320"
        )


def _read_metadata(target: Target) -> dict[str, Any]:
    """Returns the content of `metadata.json` of an existing data set."""
    return json.loads((target.directory / "metadata.json").read_text())


def _summary(target: Target) -> list[str]:
    """Returns lines that describe the data set and how to train with it."""
    info = tfds.builder_from_directory(target.directory).info
    metadata = _read_metadata(target)
    lines = [f"{target.name} {info.version} is in {target.directory}"]
    for name, split in info.splits.items():
        lines.append(
            f"{name:<11} {split.num_examples:>9,} images, {metadata['images_with_boxes'][name]:,} with boxes, "
            f"{split.num_bytes / 1e9:,.1f} GB in {split.num_shards:,} files"
        )
    lines += [f"not all of ILSVRC2012: {fault}" for fault in metadata["missing"]]
    # Data sets that earlier versions of this program made have no "warnings".
    lines += [f"note: {warning}" for warning in metadata.get("warnings", [])]
    for split, names in metadata["not_resized"].items():
        if names:
            lines.append(f"not resized because they do not decode, {len(names)} of {split}: {', '.join(names)}")
    command = [*recipes.command("resnet50"), f"--config.data.data_dir={shlex.quote(str(target.root))}"]
    if target.variant is not None:
        command.append(f"--config.data.name={target.name}")
    return [*lines, f"train with: {' '.join(command)}"]
