"""Reads the bounding boxes of ILSVRC2012: archives with one XML file per image."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from resnet_jax.data import imagenet_classes
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare.archives import unreadable

TRAIN = "ILSVRC2012_bbox_train_v2.tar.gz"
VALIDATION = "ILSVRC2012_bbox_val_v3.tgz"

_EDGES = ("ymin", "xmin", "ymax", "xmax")
_CHUNK = 1 << 20  # bytes per read
# Exceptions for a truncated or damaged archive, and for a malformed annotation.
_DAMAGES = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)
_MALFORMED = (ElementTree.ParseError, ArithmeticError, LookupError, TypeError, ValueError)


class Boxes:
    """The bounding boxes of all images, by file name."""

    def __init__(self) -> None:
        """Makes an empty collection; `add_archive` adds boxes."""
        self._packed: dict[str, bytes] = {}  # float32 boxes as bytes: numpy arrays would take three times the memory

    def __len__(self) -> int:
        return len(self._packed)

    def of(self, image_name: str) -> np.ndarray:
        """Returns the boxes of an image: [N, 4] float32, ymin, xmin, ymax, xmax, relative (0 to 1)."""
        packed = self._packed.get(PurePosixPath(image_name).stem, b"")
        return np.frombuffer(packed, np.float32).reshape(-1, 4)

    def add_archive(self, path: Path, read: Callable[[int], None]) -> int:
        """Adds the boxes of all XML files in an archive, whatever folders of the archive they are in.

        Args:
          path: path of the archive.
          read: called with 1 after each XML file.

        Returns:
          The number of XML files that belong to images of the 1,000 classes.

        Raises:
          UsageError: the archive or an XML file in it is damaged, or cannot be read.
        """
        count = 0
        for name, synset, xml in _xml_files(path):
            self._add(name, synset, xml, path)
            count += 1
            read(1)
        return count

    def _add(self, name: PurePosixPath, synset: str, xml: bytes, path: Path) -> None:
        try:
            boxes = parse(xml, synset)
        except _MALFORMED as error:
            raise UsageError(
                f"{name} in {path} is not a valid annotation ({error}): download the archive again"
            ) from None
        if len(boxes):
            self._packed[name.stem] = boxes.tobytes()


class _Member(tarfile.TarInfo):
    """A tar member; unlike in tarfile by default, a missing or broken header is an error, not the end of the tar."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros, the regular end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no valid header at byte {tarfile_.offset:,}: {error}") from None


def _xml_files(path: Path) -> Iterator[tuple[PurePosixPath, str, bytes]]:
    """Yields the XML files of an archive that annotate images of the 1,000 classes; raises UsageError if it is damaged.

    Each item is the path in the archive, the class of the image as a WordNet ID, and the content of the file.
    """
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Member) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all members in memory
                name = PurePosixPath(member.name)
                synset = _synset_of(name.stem)
                file = tar.extractfile(member) if name.suffix == ".xml" and synset is not None else None
                if file is not None and synset is not None:
                    yield name, synset, file.read()
            while unpacked.read(_CHUNK):  # up to the end, where gzip verifies checksum and length
                pass
    except _DAMAGES as error:
        raise UsageError(
            f"{path} is truncated or damaged ({error}): download it again, or remove it to prepare without these boxes"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def parse(xml: bytes, synset: str) -> np.ndarray:
    """Returns the bounding boxes in the annotation of an image.

    Coordinates are relative to the image size stated in the annotation, which may differ from that of the file. If xmin
    exceeds xmax, or ymin exceeds ymax, the two are swapped. Coordinates outside the image are moved to its border, and
    boxes without area are dropped. A box is also dropped if the name of its object is the WordNet ID of another class
    of ImageNet. Any other name, such as 'Scottish_deerhound' instead of 'n02092002', counts as the class of the image.

    TensorFlow's `research/slim/datasets/process_bounding_boxes.py` differs in two ways: it rounds to four digits, and
    it applies the name of the first object to all boxes of the image.

    Args:
      xml: the annotation.
      synset: the class of the image as a WordNet ID, such as 'n02092002'.

    Returns:
      [N, 4] float32: ymin, xmin, ymax, xmax, relative (0 to 1).

    Raises:
      One of the exceptions in `_MALFORMED`: the annotation is malformed.
    """
    root = ElementTree.fromstring(xml)
    width, height = _number(root, "size/width"), _number(root, "size/height")
    boxes = []
    for annotated in root.iter("object"):
        name = annotated.findtext("name")
        if name != synset and name in imagenet_classes.labels():
            continue
        y_first, x_first, y_last, x_last = (_number(annotated, f"bndbox/{edge}") for edge in _EDGES)
        ymin, ymax = _clipped(y_first / height, y_last / height)
        xmin, xmax = _clipped(x_first / width, x_last / width)
        if ymin < ymax and xmin < xmax:
            boxes.append((ymin, xmin, ymax, xmax))
    return np.array(boxes, np.float32).reshape(-1, 4)


def _clipped(first: float, last: float) -> tuple[float, float]:
    low, high = sorted((first, last))
    return min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)


def _number(element: ElementTree.Element, path: str) -> int:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"it has no {path}")
    return int(float(text))  # some annotations have numbers such as '12.0'


def _synset_of(stem: str) -> str | None:
    """Returns the class of the image that an XML file annotates, as a WordNet ID; None if it is not one of the 1,000.

    Args:
      stem: file name without extension, such as 'n01440764_10026' or 'ILSVRC2012_val_00000001'.
    """
    prefix, _, number = stem.rpartition("_")
    if (
        prefix == "ILSVRC2012_val"
        and number.isdecimal()
        and 1 <= int(number) <= len(imagenet_classes.validation_synsets())
    ):
        return imagenet_classes.validation_synsets()[int(number) - 1]
    return prefix if prefix in imagenet_classes.labels() else None
