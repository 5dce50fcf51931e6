"""What a directory of archives holds, and whether it is the whole of ILSVRC2012."""

import dataclasses
import logging
import stat
from collections.abc import Collection
from pathlib import Path

import numpy as np

from resnet_jax.data import imagenet_classes
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare import archives, boxes, census
from resnet_jax.programs.prepare.archives import Images
from resnet_jax.programs.prepare.boxes import Boxes
from resnet_jax.programs.prepare.counter import Counter

logger = logging.getLogger(__name__)

_SCANS = {"train": (archives.TRAIN, archives.scan_train), "validation": (archives.VALIDATION, archives.scan_validation)}
# Archive, how many XML files it should hold: the former by r1's `process_bounding_boxes.py`, the latter one an image.
# Only a warning where it does not, for neither source is the archive itself; its checksum is verified anyhow.
_BOXES = {"train": (boxes.TRAIN, 544_546), "validation": (boxes.VALIDATION, census.WHOLE["validation"])}


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the archives hold."""

    images: dict[str, Images]  # by split; each has some
    boxes: Boxes
    archives: dict[str, int]  # name -> bytes
    missing: list[str]  # what it lacks of the whole, in words
    warnings: list[str]  # what is odd, and no error

    def described(self) -> dict[str, object]:
        """For the metadata of the data set: JSON."""
        return {
            "archives": [{"name": name, "bytes": size} for name, size in self.archives.items()],
            "whole": not self.missing,
            "missing": self.missing,
            "warnings": self.warnings,
            "images": {split: len(images) for split, images in self.images.items()},
            "images_with_boxes": {split: self.with_boxes(split) for split in self.images},
        }

    def with_boxes(self, split: str) -> int:
        """How many images of a split have boxes."""
        images = self.images[split]
        return sum(len(self.boxes.of(images.name(row))) > 0 for row in range(len(images)))


def survey(directory: Path, requests: StopRequests, *, allow_partial: bool, sequential: bool) -> Contents:
    """Reads the headers of the tars and all bounding boxes.

    Args:
      directory: that of the archives.
      requests: one to stop ends it with a StoppedError.
      allow_partial: takes less than the whole, even one of the two archives of images.
      sequential: see `archives.scan_train`.

    Raises:
      UsageError: an archive is missing, damaged, not the whole of its split, or cannot be read.
    """
    present = archives_in(directory)
    _check_names(directory, present, allow_partial=allow_partial)
    images: dict[str, Images] = {}
    missing: list[str] = []
    for split, (name, scan) in _SCANS.items():
        if name in present:
            with Counter(f"{split}: found", total=census.WHOLE[split], requests=requests) as counter:
                images[split] = scan(directory / name, counter.add, sequential=sequential)
        labels = images[split].labels if split in images else np.zeros(0, np.int64)
        logger.info("%s: images of %d of %d classes", split, len(np.unique(labels)), len(imagenet_classes.synsets()))
        missing += filter(None, [census.lacks(split, labels)])
    _check_whole(directory, images, missing, allow_partial=allow_partial)
    found_boxes, warnings = _read_boxes(directory, present, requests)
    return Contents(
        images={split: found for split, found in images.items() if len(found)},
        boxes=found_boxes,
        archives=present,
        missing=missing,
        warnings=warnings,
    )


def archives_in(directory: Path) -> dict[str, int]:
    """The archives of ILSVRC2012 that a directory holds: name -> bytes. UsageError: one cannot be read."""
    present = {}
    for name, _ in [*_SCANS.values(), *_BOXES.values()]:
        try:
            status = (directory / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise archives.unreadable(directory / name, error) from None
        if stat.S_ISREG(status.st_mode):
            present[name] = status.st_size
    return present


def _read_boxes(directory: Path, present: Collection[str], requests: StopRequests) -> tuple[Boxes, list[str]]:
    """All boxes, and warnings."""
    found, warnings = Boxes(), []
    for split, (name, total) in _BOXES.items():
        if name in present:
            with Counter(f"{split}: read boxes of", total=total, requests=requests) as counter:
                count = found.add_archive(directory / name, counter.add)
            if count != total:
                warnings.append(f"{name} holds boxes of {count:,} images instead of {total:,}")
                logger.warning(warnings[-1])
    return found, warnings


def _check_names(directory: Path, present: Collection[str], *, allow_partial: bool) -> None:
    absent = [name for name, _ in _SCANS.values() if name not in present]
    if absent and (not allow_partial or len(absent) == len(_SCANS)):
        raise UsageError(
            f"there is no {' and no '.join(absent)} in {directory}: get it from image-net.org (docs/data.md), "
            "or say where it is with --config.prepare.archives=DIR"
        )


def _check_whole(directory: Path, images: dict[str, Images], missing: list[str], *, allow_partial: bool) -> None:
    if not any(len(found) for found in images.values()):
        raise UsageError(f"the archives in {directory} hold no image: get them again")
    if missing and not allow_partial:
        raise UsageError(
            f"the archives in {directory} are not the whole of ILSVRC2012: {'; '.join(missing)}. Get them again, or "
            "prepare what there is with --config.prepare.allow_partial=True"
        )
