"""The classes of ImageNet's validation images, from the development kit of ILSVRC2012, as torchvision reads them.

`ILSVRC2012_validation_ground_truth.txt` has the number of the class of each image, and `meta.mat` the WordNet ID of
each number. These numbers are not in the order of the WordNet IDs.
"""

import io
import tarfile
from pathlib import Path
from typing import Any

from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError

ARCHIVE, _FOLDER = "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12"
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_PLACES = (f"{_FOLDER}/data", "data", "")  # folders in which the files of an unpacked kit may be
_NUM_CLASSES = 1000  # numbers above belong to inner nodes of WordNet


def find_devkit(root: Path) -> Path | None:
    """Returns the folder of the two files, or the archive of the kit, in or below `root`; None if there is neither."""
    folders = [root / place for place in _PLACES]
    found = next((folder for folder in folders if (folder / _TRUTH).is_file() and (folder / _META).is_file()), None)
    return found or (root / ARCHIVE if (root / ARCHIVE).is_file() else None)


def validation_classes(kit: Path) -> list[str]:
    """Returns the WordNet ID of the class of each validation image, starting with ILSVRC2012_val_00000001.JPEG.

    Args:
      kit: the result of `find_devkit`.

    Raises:
      UsageError: a file of the kit is missing or damaged.
    """
    try:
        synsets = _synsets(_read(kit, _META))
        return [synsets[int(line)] for line in _read(kit, _TRUTH).split()]
    except Exception as error:  # SciPy raises errors of many types for a damaged file
        raise UsageError(
            f"{kit} is not the development kit of ILSVRC2012, with {_TRUTH} and {_META} ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}): download {ARCHIVE} from image-net.org again"
        ) from None


def _synsets(meta: bytes) -> dict[int, str]:
    """Reads `meta.mat`: from the number of a class, 1 to 1000, to its WordNet ID."""
    from scipy.io import loadmat  # noqa: PLC0415  only this file needs it

    rows: Any = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    numbers = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    return {number: synset for number, synset in numbers.items() if number <= _NUM_CLASSES}


def _read(kit: Path, name: str) -> bytes:
    """Returns the content of a file of the kit."""
    if kit.is_dir():
        return read_regular(kit / name)
    with tarfile.open(kit) as tar:
        member = next(member for member in tar if member.name.endswith(f"/{name}"))
        file = tar.extractfile(member)
        if file is None:
            raise ValueError(f"{name} is not a file")
        return file.read()
