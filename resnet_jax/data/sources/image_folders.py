"""Lists folders of image files, and tells folders of splits, of classes and of other kinds of data sets apart.

Files and folders whose names start with a dot are skipped, such as '.ipynb_checkpoints' and '._x.jpg' of macOS, and
so is the folder '__MACOSX' of zip files that macOS has made. Images may be in subfolders, and links are followed, but
each folder is listed only once per class, even if several links lead to it.
"""

import collections
import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

from resnet_jax.data.sources.kaggle import image_root
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import check_no_system_place, kind_of, local_path, system_devices
from resnet_jax.text import printable

# The file extensions, in lower case, that Pillow associates with the formats that `data/other_formats.py` reads.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".avifs", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".pnm", ".ppm", ".pfm", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
)

Inode = tuple[int, int]  # device and number, which identify a folder whatever its path
LeftOut = collections.Counter[str]  # kind of file -> number of files that are not read

FOLDERS_OF_THE_SYSTEM = "folders of the system (/proc, /sys, /dev)"  # a key of `LeftOut`
ARCHIVES = "ILSVRC2012_img_"  # prefix of the tar archives of image-net.org, which --mode=prepare reads
_PARQUET_PLACES = ("", "data/", "train/", "default/train/")  # the folders that are searched for Parquet files
_TARS = re.compile(r".*(train|val|test|\d{2}).*\.tar")  # tars of samples, such as 'imagenet-train-000000.tar'
_KINDS = 6  # largest number of kinds of skipped files that a message names
_LONGEST_ENDING = 10  # characters; a longer text after the last dot of a name is not an ending
_CURE = "give the directory of the data"
_SAMPLE = 10  # subfolders per folder that are searched for an error message; there may be thousands


def data_folder(text: str, *, name: str = "config.data.data_dir") -> Path:
    """Returns the path of a folder of data, which need not exist.

    Args:
      text: the path, see `local_path`.
      name: the config key or environment variable whose value `text` is, for error messages.

    Raises:
      UsageError: the text is empty, which would be the current directory; or it is no directory, cannot be listed, or
        is in /proc, /sys or /dev.
    """
    if not text:
        raise UsageError(f"{name} is empty: set it to a folder ('.' is the current directory), or leave it out")
    path = local_path(text, name=name)
    check_no_system_place(path, name=name, cure=_CURE)
    try:
        with os.scandir(path):
            return path
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.exists():  # the source reports this, and says what the folder should hold
            return path
        raise UsageError(f"{name}={printable(text)} is {kind_of(path)}, not a directory: {_CURE}") from error
    except OSError as error:
        raise UsageError(
            f"{name}={printable(text)} cannot be listed ({error.strerror}): give another folder, or the permission to "
            "read and to enter it"
        ) from None


def list_folders(folder: Path) -> list[str]:
    """Returns the names of the subfolders of a folder, sorted. Raises UsageError if it cannot be listed."""
    return sorted(_list(str(folder)).folders)


def list_classes(split: Path) -> list[str]:
    """Returns the names of the class folders of a split, sorted. Raises UsageError if there are none."""
    classes = list_folders(split)
    if not classes:
        raise UsageError(f"{split} has no class folders: put the images of each class into {split}/<class name>/")
    return classes


class ClassFiles(NamedTuple):
    """The files of a class."""

    images: list[str]  # paths relative to the folder of the split
    left_out: LeftOut


def list_images(root: Path, class_name: str, above: Set[Inode] | None = None) -> ClassFiles:
    """Lists the images of a class, in the order of torchvision's `ImageFolder`.

    Images of a folder to which several symbolic links lead are listed once. A link to a folder above the class is not
    followed, nor one to a folder of the system, such as /proc, whose links lead everywhere.

    Args:
      root: the folder of the split.
      class_name: name of the class folder.
      above: `folders_above` of `root`; None: computed here.

    Raises:
      UsageError: there are no images, or a folder cannot be listed.
    """
    seen = set(folders_above(root) if above is None else above)
    names, folders, left_out = {}, [class_name], LeftOut()
    for folder in folders:  # the loop appends subfolders to the list that it iterates over
        inode = _inode(f"{root}/{folder}")
        if inode in seen:
            left_out["links to folders already listed"] += 1
            continue
        seen.add(inode)
        if inode[0] in system_devices():
            left_out[FOLDERS_OF_THE_SYSTEM] += 1
            continue
        listed = _list(f"{root}/{folder}")
        names[folder] = listed.images
        left_out += listed.left_out
        folders += [f"{folder}/{name}" for name in sorted(listed.folders)]
    # Sorts folders by their whole path, so that 'a-b' comes before 'a/b'; a sorted os.walk would list 'a/b' first.
    found = [f"{folder}/{name}" for folder in sorted(names) for name in sorted(names[folder])]
    if not found:
        others = f" (it has {describe_left_out(left_out, class_name)})" if left_out else ""
        raise UsageError(
            f"{root / class_name} has no image ({', '.join(SUFFIXES)}){others}: every class needs images in each "
            f"split; move a folder that is not a class elsewhere{other_source_instead(root)}"
        )
    return ClassFiles(found, left_out)


def folders_above(folder: Path) -> set[Inode]:
    """Returns the inodes of a folder and of all folders above it."""
    resolved = Path(os.path.realpath(folder))
    return {_inode(str(path)) for path in (resolved, *resolved.parents)}


def count_outside_classes(split: Path) -> LeftOut:
    """Counts the images that lie in the folder of a split, but in no class folder."""
    number = len(_list(str(split)).images)
    return LeftOut({"images outside of class folders": number} if number else {})


def kind_left_out(name: str) -> list[str]:
    """Returns a list with the kind of a file that is not read, its ending; [] if it is hidden and not an image."""
    if name.startswith("."):
        return ["images whose names start with a dot"] if name.lower().endswith(SUFFIXES) else []
    stem, dot, ending = name.rpartition(".")
    return [f".{ending.lower()}" if stem and dot and len(ending) <= _LONGEST_ENDING else "without an ending"]


def describe_left_out(left_out: LeftOut, place: str) -> str:
    """Describes files that are not read: '7 files in train: 5 .txt, 2 without an ending'."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count:,} {printable(kind)}" for kind, count in ordered[:_KINDS]]
    if len(ordered) > _KINDS:
        kinds.append(f"{sum(count for _, count in ordered[_KINDS:]):,} others")
    total = left_out.total()
    return f"{total:,} file{'s' * (total > 1)} in {printable(place)}: {', '.join(kinds)}"


def list_flat(folder: Path) -> tuple[list[str], list[str], LeftOut]:
    """Returns the names of the images and of the subfolders of a folder, and the files left out; lists no subfolder.

    Raises:
      UsageError: it cannot be listed.
    """
    listed = _list(str(folder))
    return listed.images, sorted(listed.folders), listed.left_out


def holds_only_folders(folder: Path) -> bool:
    """Whether a folder has subfolders but no image of its own. Raises UsageError if it cannot be listed."""
    listed = _list(str(folder))
    return bool(listed.folders) and not listed.images


def image_folders_instead(directory: Path, *, own: str = "") -> str | None:
    """Returns an error message if `directory` holds folders of images, or Parquet files or tars, else None.

    It looks into a few folders only, two levels deep: DIR/<class>/<image> and DIR/<split>/<class>/<image>.

    Args:
      directory: the data directory that was given to another source.
      own: name of that source, whose own data are not reported.
    """
    try:
        others = _others(directory)
        for source in ("parquet", "webdataset"):
            if source in others and source != own:
                file = others[source].relative_to(directory)
                return f"config.data.data_dir={directory} holds {file}: add --config.data.source={source}"
        images = image_root(directory)
        found = [name for name in list_folders(images)[:_SAMPLE] if _holds_images(images / name)]
        if not found or others:
            return None
    except UsageError:  # `directory` cannot be listed: the caller's own error message remains
        return None
    names = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return f"config.data.data_dir={directory} holds folders of images ({names}): add --config.data.source=folder"


def other_source_instead(directory: Path) -> str:
    """Returns the end of an error message if `directory` holds data of a source other than 'folder', else ''."""
    for source, path in _others(directory).items():
        return f". It holds {path.relative_to(directory)}: for such data, set --config.data.source={source}"
    archives = [path.name for path in directory.glob(f"{ARCHIVES}*.tar")]
    if archives:
        return (
            f". It holds {archives[0]}: prepare such archives with --mode=prepare --config.prepare.archives={directory}"
        )
    return ""


def _others(directory: Path) -> dict[str, Path]:
    """Returns one file for each source, other than 'folder', whose data `directory` holds: source name -> path."""
    tars = (path for place in ("", "train/") for path in directory.glob(f"{place}*.tar") if _TARS.fullmatch(path.name))
    candidates = {
        "tfds": _find_tfds(directory),
        "tfrecord": directory.glob("*-0*-of-*[0-9]"),
        "cifar_binary": itertools.chain(directory.glob("data_batch_1.bin"), directory.glob("*/data_batch_1.bin")),
        "parquet": (path for place in _PARQUET_PLACES for path in directory.glob(f"{place}*.parquet")),
        "webdataset": (path for path in tars if not path.name.startswith(ARCHIVES)),
    }
    first = {source: next(iter(paths), None) for source, paths in candidates.items()}
    return {source: path for source, path in first.items() if path is not None}


def _find_tfds(directory: Path) -> Iterator[Path]:
    """Yields the info files of prepared data sets: <name>/<version>/ or <name>/<config>/<version>/dataset_info.json.

    Skips folders that cannot be listed, and looks into a few folders of each folder only.
    """
    folders = [directory]
    for _ in range(3):
        below = []
        for folder in folders:
            with contextlib.suppress(UsageError):
                below += [folder / name for name in list_folders(folder)[:_SAMPLE]]
        folders = below
        infos = (folder / "dataset_info.json" for folder in folders)
        yield from (path for path in infos if os.path.isfile(path))  # noqa: PTH113  never raises


def _holds_images(folder: Path) -> bool:
    """Whether a folder, or one of its first subfolders, holds an image."""
    listed = _list(str(folder))
    return bool(listed.images) or any(_list(str(folder / name)).images for name in sorted(listed.folders)[:_SAMPLE])


class _Listed(NamedTuple):
    """The content of a folder, unordered."""

    folders: list[str]  # names of the subfolders
    images: list[str]  # names of the images
    left_out: LeftOut


def _list(folder: str) -> _Listed:
    """Lists a folder. Raises UsageError if this fails."""
    listed = _Listed([], [], LeftOut())
    with _listing_as_usage_error(folder), os.scandir(folder) as entries:
        for entry in entries:
            is_image = entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            # Resolving a million links to images would take minutes on a network disk: trust their suffixes.
            if _is_folder(entry, follow_symlinks=not is_image):
                if not entry.name.startswith((".", "__MACOSX")):
                    listed.folders.append(entry.name)
            elif is_image and (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                listed.images.append(entry.name)
            else:
                listed.left_out.update(["FIFOs, sockets or devices"] if is_image else kind_left_out(entry.name))
    return listed


def _is_folder(entry: os.DirEntry, *, follow_symlinks: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:  # a link to itself, or to a path without permission
        return False


def _inode(folder: str) -> Inode:
    """Identifies a folder. Raises UsageError if it cannot be read."""
    with _listing_as_usage_error(folder):
        status = os.stat(folder)  # noqa: PTH116
        return status.st_dev, status.st_ino


@contextlib.contextmanager
def _listing_as_usage_error(folder: str) -> Iterator[None]:
    """Turns the OSError of a folder that cannot be listed into a UsageError."""
    shown = printable(folder)
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no folder {shown}: set --config.data.data_dir=DIR to an existing folder") from None
    except OSError as error:
        raise UsageError(f"{shown} cannot be listed ({error.strerror}): check its permissions and the disk") from None
