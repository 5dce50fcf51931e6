"""Kaggle's copy of ILSVRC2012 ("ImageNet Object Localization Challenge"), in which the images lie three folders deep.

Its files are DIR/ILSVRC/Data/CLS-LOC/{train,val,test}, DIR/LOC_val_solution.csv and DIR/LOC_synset_mapping.txt.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from resnet_jax.data.imagenet_classes import check_order
from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of

_IMAGES = Path("Data", "CLS-LOC")
_TOP = "ILSVRC"  # name of the top folder in Kaggle's archive
_MAPPING = "LOC_synset_mapping.txt"  # lines such as 'n01440764 tench, Tinca tinca', in the order of the classes


def image_root(root: Path) -> Path:
    """Returns the folder of the splits: Data/CLS-LOC or ILSVRC/Data/CLS-LOC in `root` if it exists, else `root`."""
    inner = (root / _IMAGES, root / _TOP / _IMAGES)
    return next((folder for folder in inner if os.path.isdir(folder)), root)  # noqa: PTH112  never raises


def label_folders(root: Path) -> tuple[Path, ...]:
    """Returns the folders that may hold files of labels: `root`, and two folders above it if it is Data/CLS-LOC.

    `root` is the folder of the splits. Kaggle's files LOC_*.csv are beside the folder ILSVRC, or in it if a user has
    moved them.
    """
    return (root, *root.resolve().parents[1:3]) if root.resolve().parts[-2:] == _IMAGES.parts else (root,)


def in_order_of_mapping(classes: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Returns the classes in the order of LOC_synset_mapping.txt, if one of the folders has this file.

    Args:
      classes: names of the class folders of training, sorted.
      folders: where the file may be.

    Raises:
      UsageError: the file does not list a class, or lists the classes of ImageNet in another order than that of their
        WordNet IDs.
    """
    file = next((folder / _MAPPING for folder in folders if (folder / _MAPPING).is_file()), None)
    if file is None:
        return list(classes)
    try:
        listed = [line.split()[0] for line in read_regular(file).decode().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}): copy it again, or remove it") from None
    unknown = sorted(set(classes) - set(listed))
    if unknown:
        raise UsageError(
            f"{file} does not list {len(unknown)} of the {len(classes)} classes "
            f"({some_of(list(map(printable, unknown)))}): move elsewhere what is not a class, or remove this file"
        )
    ordered = [name for name in dict.fromkeys(listed) if name in set(classes)]
    check_order(ordered, owner=str(file))
    return ordered
