"""The bounding boxes of ILSVRC2012: archives of XML files, one an image."""

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
_CHUNK = 1 << 20  # bytes
# What is raised where bytes are not those of a whole archive, and of a well-formed annotation.
_DAMAGES = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)
_MALFORMED = (ElementTree.ParseError, ArithmeticError, LookupError, TypeError, ValueError)


class Boxes:
    """The boxes of images by the names of their files."""

    def __init__(self) -> None:
        """Holds none."""
        self._packed: dict[str, bytes] = {}  # half a million arrays would take three times as much

    def __len__(self) -> int:
        return len(self._packed)

    def of(self, image_name: str) -> np.ndarray:
        """The boxes [N, 4] float32 of 'n01440764_10026.JPEG': ymin, xmin, ymax, xmax in 0..1."""
        packed = self._packed.get(PurePosixPath(image_name).stem, b"")
        return np.frombuffer(packed, np.float32).reshape(-1, 4)

    def add_archive(self, path: Path, read: Callable[[int], None]) -> int:
        """Adds those of an archive of XML files, found by their names in whatever folders; tells `read` of each.

        Returns:
          the number of XML files of images of the classes.

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
            raise UsageError(f"{name} in {path} holds no bounding boxes ({error}): get the archive again") from None
        if len(boxes):
            self._packed[name.stem] = boxes.tobytes()


class _Member(tarfile.TarInfo):
    """A member of a tar that does not take a missing or broken header for the end, as tarfile does by itself."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros that ends a tar
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end, no further file at byte {tarfile_.offset:,}: {error}") from None


def _xml_files(path: Path) -> Iterator[tuple[PurePosixPath, str, bytes]]:
    """Yields name, class and content of each XML file of an image of the classes; what follows them is verified too."""
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Member) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # half a million of them would fill the memory
                name = PurePosixPath(member.name)
                synset = _synset_of(name.stem)
                file = tar.extractfile(member) if name.suffix == ".xml" and synset is not None else None
                if file is not None and synset is not None:
                    yield name, synset, file.read()
            while unpacked.read(_CHUNK):  # gzip's checksum and length stand at its end
                pass
    except _DAMAGES as error:
        raise UsageError(f"{path} is cut short or damaged ({error}): get it again, or remove it") from None
    except OSError as error:
        raise unreadable(path, error) from None


def parse(xml: bytes, synset: str) -> np.ndarray:
    """The boxes [N, 4] float32 in the annotation of an image of class `synset`: ymin, xmin, ymax, xmax in 0..1.

    By the rules of r1's `process_bounding_boxes.py`: relative to the size that the annotation states, which need
    not be the image's; edges the wrong way round are swapped, those outside the image are moved to its edge;
    boxes without area, and those around objects of another of the classes, are left out. A name that is no class
    is one of the image's own class: many dogs have theirs in words. It also rounded to four digits.
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
        raise ValueError(f"no {path}")
    return int(float(text))  # some are written as floats


def _synset_of(stem: str) -> str | None:
    """The class of the image of an XML file; None: it is none of ILSVRC2012's."""
    prefix, _, number = stem.rpartition("_")
    if (
        prefix == "ILSVRC2012_val"
        and number.isdecimal()
        and 1 <= int(number) <= len(imagenet_classes.validation_synsets())
    ):
        return imagenet_classes.validation_synsets()[int(number) - 1]
    return prefix if prefix in imagenet_classes.labels() else None
