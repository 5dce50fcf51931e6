"""Converts the archives of ILSVRC2012 (ImageNet) to a TFDS data set with random access."""

import hashlib
import json
import logging
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
from resnet_jax.local_paths import local_path
from resnet_jax.programs.prepare.archives import Images
from resnet_jax.programs.prepare.builder import Imagenet2012, Split
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.programs.prepare.examples import Example, ExampleMaker
from resnet_jax.programs.prepare.marking import LARGEST_GROWTH
from resnet_jax.programs.prepare.survey import Contents, archives_in, survey
from resnet_jax.programs.prepare.target import (
    RECORD_OVERHEAD,
    Target,
    check_space,
    count_threads,
    lock,
    make_target,
    train_command,
)

logger = logging.getLogger(__name__)

_MAX_NAMED = 30  # number of images without restart markers that the summary names at most
_SAMPLE = 64  # number of images of each split that are rewritten to estimate the size of the split


def prepare(  # noqa: PLR0913  one argument for each config key
    *,
    archives: str | None,
    data_dir: str | None,
    allow_partial: bool,
    resize_short_side: int | None,
    quality: int,
    shuffle: bool,
    num_threads: int | None,
    restart_markers: bool = False,
    verify_all: bool = False,
    max_image_pixels: int = MAX_PIXELS,
) -> int:
    """Makes the ImageNet data set, unless it exists already.

    Args:
      archives: directory that holds the archives of ILSVRC2012.
      data_dir: directory of prepared data sets; None: `TFDS_DATA_DIR` if set, else the default of TFDS.
      allow_partial: accept less than all of ILSVRC2012.
      resize_short_side: length in pixels to which the shorter side of larger images is resized; None: no resizing.
      quality: JPEG quality of re-encoded images, 1 to 100.
      shuffle: store the images in a random order that depends only on their names; otherwise read the archives front to
        back and keep their order.
      num_threads: threads that read and re-encode; None: two per core, at least 8.
      restart_markers: store JPEG files with restart markers, see `Marking`.
      verify_all: verify the pixels of all images that get markers, not only of a sample.
      max_image_pixels: number of pixels above which an image is not re-encoded, but stored as it is.

    Returns:
      The exit status: 0, or 75 after a signal.

    Raises:
      UsageError: an archive is missing, damaged, incomplete or cannot be read, or the disk is too small.
    """
    source, threads = _source(archives), count_threads(num_threads)
    target = make_target(
        data_root(data_dir),
        resize_short_side=resize_short_side,
        quality=quality,
        restart_markers=restart_markers,
        verify_all=verify_all,
        max_pixels=max_image_pixels,
    )
    requests = StopRequests()
    requests.begin(saves=False)
    with Signals(requests.ask), lock(target):
        if target.directory.exists():
            _check_existing(target, allow_partial=allow_partial)
            print(f"Nothing to do: {target.name} is prepared.", *_made_without(target, source), sep="\n")
        else:
            _remove_leftovers(target)
            try:
                contents = survey(source, requests, allow_partial=allow_partial, sequential=not shuffle)
                makers = {
                    split: ExampleMaker(images, contents.boxes, target.shrink, threads, marking=target.marking)
                    for split, images in contents.images.items()
                }
                _write(target, contents, makers, requests, shuffle=shuffle)
            except StoppedError:
                print("Stopped: nothing of the data set is kept. Run the same command again to begin anew.")
                return STOPPED
    print(*_summary(target), sep="\n")
    return 0


def _source(archives: str | None) -> Path:
    if archives is None:
        raise UsageError(
            "config.prepare.archives is not set: name the directory of the archives of ILSVRC2012 with "
            "--config.prepare.archives=DIR (docs/data.md lists them)"
        )
    return local_path(archives, name="config.prepare.archives")


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
    """Returns a line naming archives in `source` that were absent when the existing data set was made; [] if none."""
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
    check_space(target.root, sum(sizes.values()))
    total = sum(len(maker.images) for maker in makers.values())
    orders = {split: _order(maker.images, shuffle=shuffle) for split, maker in makers.items()}
    metadata: dict[str, Any] = contents.as_metadata() | target.settings
    metadata |= {
        # `ExampleMaker.examples` appends to these lists while the data set is written.
        "not_resized": {split: maker.not_shrunk for split, maker in makers.items()},
        "without_restart_markers": {split: maker.not_marked for split, maker in makers.items()},
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
    """Estimates the size of a split in bytes; if its images are to be rewritten, by rewriting a sample of them."""
    images = maker.images
    size = int(images.sizes.sum())
    if maker.shrink is not None or maker.marking is not None:
        rows = _order(images, shuffle=True)[:_SAMPLE]
        rewritten = sum(len(features["image"]) for _, features in maker.examples(rows))
        # The images of the sample are rewritten again when the split is written.
        maker.not_shrunk.clear()
        maker.not_marked.clear()
        size = round(size * min(LARGEST_GROWTH, rewritten / int(images.sizes[rows].sum())))
    return size + RECORD_OVERHEAD * len(images)


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
    for split, names in metadata.get("without_restart_markers", {}).items():
        if names:
            listed = ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
            lines.append(f"stored without restart markers, {len(names):,} of {split}: {listed}")
    return [*lines, f"train with: {train_command(target)}"]
