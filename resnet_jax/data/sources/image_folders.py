"""Lists folders of image files, and tells folders of splits, of classes and of other kinds of data sets apart.

Files and folders whose names start with a dot are skipped, such as '.ipynb_checkpoints' and '._x.jpg' of macOS. Images
may be in subfolders, and links are followed.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from resnet_jax.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")

_SAMPLE = 10  # folders that `image_folders_instead` looks into: a data directory may hold thousands


def list_folders(folder: Path) -> list[str]:
    """Returns the names of the subfolders of a folder, sorted. Raises UsageError if it cannot be listed."""
    return sorted(_list(str(folder))[0])


def list_classes(split: Path) -> list[str]:
    """Returns the names of the class folders of a split, sorted. Raises UsageError if there are none."""
    classes = list_folders(split)
    if not classes:
        raise UsageError(f"{split} has no class folders: put the images of each class into {split}/<class name>/")
    return classes


def list_images(root: Path, class_name: str) -> list[str]:
    """Returns the images of a class as paths relative to `root`, in the order of torchvision's `ImageFolder`.

    Raises:
      UsageError: there are none, or a folder cannot be listed.
    """
    names, folders = {}, [class_name]
    for folder in folders:  # the loop appends subfolders to the list that it iterates over
        inner, names[folder] = _list(f"{root}/{folder}")
        folders += [f"{folder}/{name}" for name in inner]
    # Sorts folders by their whole path, so that 'a-b' comes before 'a/b'; a sorted os.walk would list 'a/b' first.
    found = [f"{folder}/{name}" for folder in sorted(folders) for name in sorted(names[folder])]
    if not found:
        raise UsageError(
            f"{root / class_name} has no image ({', '.join(SUFFIXES)}): every class needs images in each split; "
            f"move a folder that is not a class elsewhere{other_source_instead(root)}"
        )
    return found


def holds_only_folders(folder: Path) -> bool:
    """Whether a folder has subfolders but no image of its own. Raises UsageError if it cannot be listed."""
    folders, images = _list(str(folder))
    return bool(folders) and not images


def image_folders_instead(directory: Path) -> str | None:
    """Returns an error message if `directory` holds folders of images and no data of another source, else None.

    It looks into a few folders only, two levels deep: DIR/<class>/<image> and DIR/<split>/<class>/<image>.
    """
    try:
        found = [name for name in list_folders(directory)[:_SAMPLE] if _holds_images(directory / name)]
        if not found or other_source_instead(directory):
            return None
    except UsageError:  # `directory` cannot be listed: the caller's own error message remains
        return None
    names = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return f"config.data.data_dir={directory} holds folders of images ({names}): add --config.data.source=folder"


def other_source_instead(directory: Path) -> str:
    """Returns the end of an error message if `directory` holds data of a source other than 'folder', else ''."""
    candidates = {
        "tfds": _find_tfds(directory),
        "tfrecord": directory.glob("*-0*-of-*"),
        "cifar_binary": itertools.chain(directory.glob("data_batch_1.bin"), directory.glob("*/data_batch_1.bin")),
    }
    for source, paths in candidates.items():
        for path in paths:
            return f". It holds {path.relative_to(directory)}: for such data, set --config.data.source={source}"
    return ""


def _find_tfds(directory: Path) -> Iterator[Path]:
    """Yields the info files of prepared data sets: <name>/<version>/ or <name>/<config>/<version>/dataset_info.json."""
    folders = [directory]
    for _ in range(3):
        folders = [folder / name for folder in folders for name in list_folders(folder)]
        yield from (path for path in (folder / "dataset_info.json" for folder in folders) if path.exists())


def _holds_images(folder: Path) -> bool:
    """Whether a folder, or one of its first subfolders, holds an image."""
    folders, images = _list(str(folder))
    return bool(images) or any(_list(str(folder / name))[1] for name in sorted(folders)[:_SAMPLE])


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the subfolders and of the images in a folder, unordered."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_image = entry.name.lower().endswith(SUFFIXES)
                # Resolving a million links to images would take minutes on a network disk: trust their suffixes.
                if entry.is_dir(follow_symlinks=not is_image):
                    folders.append(entry.name)
                elif is_image:
                    images.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no folder {folder}: set --config.data.data_dir=DIR to an existing folder") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed ({error.strerror}): check its permissions and the disk") from None
    return folders, images
