"""Prepares ImageNet: from the archives of ILSVRC2012 to a TFDS data set that is read at random."""

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

from resnet_jax import experiment
from resnet_jax.data.hashing import permute
from resnet_jax.data.sources.tfds import data_root
from resnet_jax.distributed.signals import STOPPED, Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.files import locked
from resnet_jax.programs import recipes
from resnet_jax.programs.command import Command
from resnet_jax.programs.prepare.archives import Images
from resnet_jax.programs.prepare.builder import Imagenet2012, Split
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.programs.prepare.examples import Example, Maker
from resnet_jax.programs.prepare.shrinking import Shrink
from resnet_jax.programs.prepare.survey import Contents, archives_in, survey
from resnet_jax.reporting.progress import show_log

logger = logging.getLogger(__name__)

_RECORD_OVERHEAD = 512  # bytes: name, label, boxes and ArrayRecord's own
_FILE_OVERHEAD = 1 << 20  # bytes, of a whole data set: ArrayRecord files end at a multiple of 64 KiB
_SPARE = 1.01  # of the estimate of the disk space
_SAMPLE = 64  # images that stand for all where images shrink


@dataclasses.dataclass(frozen=True)
class Target:
    """The data set that is to be made."""

    root: Path  # of all data sets
    shrink: Shrink | None

    @property
    def variant(self) -> str | None:
        """The TFDS config: none for images as they come."""
        return None if self.shrink is None else self.shrink.name

    @property
    def name(self) -> str:
        """As `config.data.name` has it."""
        return "/".join(filter(None, (Imagenet2012.name, self.variant)))

    @property
    def directory(self) -> Path:
        """Where TFDS looks for it."""
        return self.root / self.name / str(Imagenet2012.VERSION)


def main(command: Command) -> int:
    """Runs --mode=prepare; returns the exit status."""
    show_log()
    return prepare(**experiment.prepare_options(command.config))


def prepare(
    *,
    archives: str | None,
    data_dir: str | None,
    allow_partial: bool,
    resize_short_side: int | None,
    quality: int,
    shuffle: bool,
    num_threads: int | None,
) -> int:
    """Makes the data set, or says that it is there; returns the exit status.

    Args:
      archives: directory that holds the archives of ILSVRC2012.
      data_dir: where data sets are prepared; None: `TFDS_DATA_DIR`, else TFDS's own default.
      allow_partial: takes less than the whole of ILSVRC2012.
      resize_short_side: pixels; larger images are re-encoded that small; None: images stay as they come.
      quality: of the JPEGs that are re-encoded, 1 to 100.
      shuffle: stores the images in a random order of their names, the same wherever it is done, else in that of the
        archives, which are read front to back then.
      num_threads: that read and re-encode; None: two a core, at least 8.

    Raises:
      UsageError: an archive is missing, damaged, not whole or cannot be read, or the disk is too small.
    """
    target, source = _target(data_dir, resize_short_side, quality), _source(archives)
    threads = max(8, 2 * (os.cpu_count() or 1)) if num_threads is None else num_threads
    if threads < 1:
        raise UsageError(f"config.prepare.num_threads={threads}: it has to be at least 1")
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
                    split: Maker(images=images, boxes=contents.boxes, shrink=target.shrink, num_threads=threads)
                    for split, images in contents.images.items()
                }
                _write(target, contents, makers, requests, shuffle=shuffle)
            except StoppedError:
                print("Stopped: nothing of the data set is kept. Run the same command again to begin anew.")
                return STOPPED
    print(*_summary(target), sep="\n")
    return 0


def _target(data_dir: str | None, resize_short_side: int | None, quality: int) -> Target:
    if resize_short_side is not None and resize_short_side < 1:
        raise UsageError(f"config.prepare.resize_short_side={resize_short_side}: it has to be at least 1 pixel")
    if not 1 <= quality <= 100:
        raise UsageError(f"config.prepare.quality={quality}: it has to be 1 to 100")
    return Target(data_root(data_dir), None if resize_short_side is None else Shrink(resize_short_side, quality))


def _source(archives: str | None) -> Path:
    if archives is None:
        raise UsageError(
            "config.prepare.archives is not set: say where the archives of ILSVRC2012 are with "
            "--config.prepare.archives=DIR (docs/data.md says which)"
        )
    return Path(archives).expanduser()


def _lock(target: Target) -> contextlib.AbstractContextManager[None]:
    """Makes the directory above the data set, and keeps other processes from preparing the same one."""
    place = target.directory.parent
    cure = "name another place with --config.data.data_dir=DIR"
    return locked(place / f".{target.directory.name}.lock", what=f"data directory {place}", cure=cure)


def _remove_leftovers(target: Target) -> None:
    """Removes what a killed process left; under the lock, so that it is nobody's."""
    for path in target.directory.parent.glob(f"{tfds.core.constants.INCOMPLETE_PREFIX}*_{target.directory.name}"):
        logger.info("removing %s, which an interrupted run left", path)
        shutil.rmtree(path)


def _check_existing(target: Target, *, allow_partial: bool) -> None:
    try:
        missing = _facts(target)["missing"]
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{target.directory} was not made by --mode=prepare: move or remove it") from None
    if missing and not allow_partial:
        raise UsageError(
            f"{target.directory} holds a part of ILSVRC2012 ({'; '.join(missing)}): remove it to prepare the whole, "
            "or keep it with --config.prepare.allow_partial=True"
        )


def _made_without(target: Target, source: Path) -> list[str]:
    """Says in a line if `source` holds archives that were not there when the data set was made."""
    try:
        present = archives_in(source)
    except UsageError:
        return []  # they are not needed any more
    used = {archive["name"] for archive in _facts(target)["archives"]}
    added = " and ".join(name for name in present if name not in used)
    return [f"It was made without {added}: remove {target.directory} to make it with that."] if added else []


def _write(
    target: Target, contents: Contents, makers: Mapping[str, Maker], requests: StopRequests, *, shuffle: bool
) -> None:
    sizes = {split: _estimated_bytes(maker) for split, maker in makers.items()}
    _check_space(target.root, sum(sizes.values()))
    total = sum(len(maker.images) for maker in makers.values())
    orders = {split: _order(maker.images, shuffle=shuffle) for split, maker in makers.items()}
    metadata: dict[str, Any] = contents.described() | {
        "resize_short_side": None if target.shrink is None else target.shrink.short_side,
        "quality": None if target.shrink is None else target.shrink.quality,
        "not_resized": {split: maker.not_shrunk for split, maker in makers.items()},  # grow until they are written
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
        builder.download_and_prepare(download_dir=downloads)  # there are none, but TFDS makes the folder


def _counted(examples: Iterator[Example], counter: Counter) -> Iterator[Example]:
    for example in examples:
        counter.add(1)
        yield example


def _order(images: Images, *, shuffle: bool) -> np.ndarray:
    """The rows of the images in the order in which they are stored: with shuffle a function of their names alone."""
    rows = np.arange(len(images))
    return np.argsort(images.names)[permute(rows, len(rows), key=0)] if shuffle else rows


def _fingerprint(makers: Mapping[str, Maker], orders: Mapping[str, np.ndarray]) -> str:
    """Eight hexadecimal digits of a SHA-256 that tell other images, another order and other boxes apart."""
    digest = hashlib.sha256()
    for split, rows in orders.items():
        digest.update(f"{split}\n".encode())
        maker = makers[split]
        for row in rows.tolist():
            name = maker.images.name(row)
            digest.update(name.encode() + b"\n" + maker.boxes.of(name).tobytes())
    return digest.hexdigest()[:8]


def _estimated_bytes(maker: Maker) -> int:
    """About how large a split becomes; where images shrink, by a sample of them."""
    images = maker.images
    size = int(images.sizes.sum())
    if maker.shrink is not None:
        rows = _order(images, shuffle=True)[:_SAMPLE]
        shrunk = sum(len(features["image"]) for _, features in maker.examples(rows))
        maker.not_shrunk.clear()  # they come again
        size = round(size * min(1.0, shrunk / int(images.sizes[rows].sum())))
    return size + _RECORD_OVERHEAD * len(images)


def _check_space(root: Path, num_bytes: int) -> None:
    needed, free = round(num_bytes * _SPARE) + _FILE_OVERHEAD, shutil.disk_usage(root).free
    if free < needed:
        raise UsageError(
            f"the data set takes {needed / 1e9:,.1f} GB and {root} has {free / 1e9:,.1f} GB free: make room, name "
            "another place with --config.data.data_dir=DIR, or take less with --config.prepare.resize_short_side=320"
        )


def _facts(target: Target) -> dict[str, Any]:
    """What is recorded of a data set that is there."""
    return json.loads((target.directory / "metadata.json").read_text())


def _summary(target: Target) -> list[str]:
    """What was made and how to train with it, line by line."""
    info = tfds.builder_from_directory(target.directory).info
    facts = _facts(target)
    lines = [f"{target.name} {info.version} is in {target.directory}"]
    for name, split in info.splits.items():
        lines.append(
            f"{name:<11} {split.num_examples:>9,} images, {facts['images_with_boxes'][name]:,} with boxes, "
            f"{split.num_bytes / 1e9:,.1f} GB in {split.num_shards:,} files"
        )
    lines += [f"not the whole of ILSVRC2012: {fault}" for fault in facts["missing"]]
    lines += [f"note: {warning}" for warning in facts.get("warnings", [])]  # older data sets have none
    for split, names in facts["not_resized"].items():
        if names:
            lines.append(f"not resized, for they do not decode, {len(names)} of {split}: {', '.join(names)}")
    command = [*recipes.command("resnet50"), f"--config.data.data_dir={shlex.quote(str(target.root))}"]
    if target.variant is not None:
        command.append(f"--config.data.name={target.name}")
    return [*lines, f"train with: {' '.join(command)}"]
