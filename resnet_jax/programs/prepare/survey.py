"""Surveys a directory of archives: finds the images and boxes, and checks that ILSVRC2012 is complete."""

import dataclasses
import logging
import stat
from collections.abc import Collection
from pathlib import Path

import numpy as np

from resnet_jax.data import imagenet_classes
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare import archives, boxes, completeness
from resnet_jax.programs.prepare.archives import Images
from resnet_jax.programs.prepare.boxes import Boxes
from resnet_jax.programs.prepare.counter import Counter

logger = logging.getLogger(__name__)

_SCANS = {"train": (archives.TRAIN, archives.scan_train), "validation": (archives.VALIDATION, archives.scan_validation)}
# For each split the archive of bounding boxes, and how many XML files it should contain: for train the number in
# `research/slim/datasets/process_bounding_boxes.py` of tensorflow/models, for validation one for each image. A
# different count causes only a warning, because image-net.org states no counts; the checksum of gzip detects damage.
_BOXES = {"train": (boxes.TRAIN, 544_546), "validation": (boxes.VALIDATION, completeness.NUM_IMAGES["validation"])}


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of the archives."""

    images: dict[str, Images]  # split -> its images; splits without images are absent
    boxes: Boxes
    archives: dict[str, int]  # file name -> size in bytes
    missing: list[str]  # one sentence for each split that lacks images of ILSVRC2012
    warnings: list[str]

    def as_metadata(self) -> dict[str, object]:
        """Returns JSON values for the metadata of the data set."""
        return {
            "archives": [{"name": name, "bytes": size} for name, size in self.archives.items()],
            "whole": not self.missing,
            "missing": self.missing,
            "warnings": self.warnings,
            "images": {split: len(images) for split, images in self.images.items()},
            "images_with_boxes": {split: self.with_boxes(split) for split in self.images},
        }

    def with_boxes(self, split: str) -> int:
        """Returns the number of images of a split that have boxes."""
        images = self.images[split]
        return sum(len(self.boxes.of(images.name(row))) > 0 for row in range(len(images)))


def survey(directory: Path, requests: StopRequests, *, allow_partial: bool, sequential: bool) -> Contents:
    """Reads the headers of the image archives, and all bounding boxes.

    Args:
      directory: directory of the archives.
      requests: stop requests, checked while archives are read.
      allow_partial: accept less than all of ILSVRC2012, even a single archive of images.
      sequential: read each archive front to back in one thread, for disks on which seeking is slow.

    Raises:
      UsageError: an archive is missing, damaged, incomplete, or cannot be read.
      StoppedError: a signal asked to stop.
    """
    present = archives_in(directory)
    _check_names(directory, present, allow_partial=allow_partial)
    images: dict[str, Images] = {}
    missing: list[str] = []
    for split, (name, scan) in _SCANS.items():
        if name in present:
            with Counter(f"{split}: found", total=completeness.NUM_IMAGES[split], requests=requests) as counter:
                images[split] = scan(directory / name, counter.add, sequential=sequential)
        labels = images[split].labels if split in images else np.zeros(0, np.int64)
        logger.info("%s: images of %d of %d classes", split, len(np.unique(labels)), len(imagenet_classes.synsets()))
        missing += filter(None, [completeness.describe_missing(split, labels)])
    _check_complete(directory, images, missing, allow_partial=allow_partial)
    found_boxes, warnings = _read_boxes(directory, present, requests)
    return Contents(
        images={split: found for split, found in images.items() if len(found)},
        boxes=found_boxes,
        archives=present,
        missing=missing,
        warnings=warnings,
    )


def archives_in(directory: Path) -> dict[str, int]:
    """Returns the sizes in bytes of the archives in a directory, by name. Raises UsageError if one cannot be read."""
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
    """Reads the archives of bounding boxes whose names are in `present`.

    Returns:
      The boxes, and a warning for each archive with an unexpected number of files.
    """
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
            f"{directory} has no {' and no '.join(absent)}: download it from image-net.org (docs/data.md), "
            "or name its directory with --config.prepare.archives=DIR"
        )


def _check_complete(directory: Path, images: dict[str, Images], missing: list[str], *, allow_partial: bool) -> None:
    if not any(len(found) for found in images.values()):
        raise UsageError(f"the archives in {directory} hold no image: download the archives again")
    if missing and not allow_partial:
        raise UsageError(
            f"the archives in {directory} are not complete: {'; '.join(missing)}. Download them again, or "
            "prepare a part of ILSVRC2012 with --config.prepare.allow_partial=True"
        )
