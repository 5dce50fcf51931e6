"""Paths that a user gives: with `~` for a home directory, and on this machine's file systems."""

import functools
import os
import re
import stat
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.text import printable

# Matches 'gs://bucket/run', and 'gs:/bucket/run', to which `pathlib` shortens it.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_DOWNLOADS = ("http", "https", "ftp")
_BUCKETS = ("gs://", "s3://")
_HUB = "hf://"  # start of the address of a repository of the Hugging Face Hub, as in huggingface_hub's file system
_SYSTEM = ("/proc", "/sys", "/dev")  # where Linux shows processes, settings and devices as files
_SHARED_MEMORY = "/dev/shm"  # holds files of users, unlike the rest of /dev
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(path: str | bytes | os.PathLike) -> str:
    """Returns what is at a path, for messages: 'a file', 'a named pipe', ..., 'a link to nothing' or 'nothing'.

    Links are followed. A path without permission counts as 'nothing'.
    """
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "of an unknown kind")  # noqa: PTH116  takes bytes
    except OSError:
        return "a link to nothing" if os.path.islink(path) else "nothing"  # noqa: PTH114  never raises


def system_place(path: str | os.PathLike) -> str | None:
    """Returns '/proc', '/sys' or '/dev' if a path, with links followed, is in it; else, and for /dev/shm, None."""
    try:
        resolved = Path(os.path.realpath(path))
    except OSError:  # a link on the way may not be read, such as /proc/1/cwd
        resolved = Path(os.path.abspath(path))  # noqa: PTH100  `Path.absolute` keeps '..'
    if resolved.is_relative_to(_SHARED_MEMORY):
        return None
    return next((place for place in _SYSTEM if resolved.is_relative_to(place)), None)


def check_no_system_place(path: Path, *, name: str, cure: str) -> None:
    """Raises UsageError if a path is in a `system_place`. For `name` see `local_path`."""
    if (place := system_place(path)) is not None:
        raise UsageError(
            f"{name}={printable(str(path))} is in {place}, whose files are processes, devices or settings: {cure}"
        )


@functools.cache
def system_devices() -> frozenset[int]:
    """Returns the device numbers (`st_dev`) of the file systems at /proc, /sys and /dev, to recognize paths in them."""
    # A directory that is no mount of its own is on the file system of '/' or, if it is /dev/shm, of /dev.
    return _devices(*_SYSTEM) - _devices("/", _SHARED_MEMORY)


def _devices(*places: str) -> frozenset[int]:
    return frozenset(Path(place).stat().st_dev for place in places if Path(place).is_dir())


def is_bucket(text: str | os.PathLike) -> bool:
    """Whether the text is an address in a kind of bucket that is supported: gs:// or s3://."""
    return os.fspath(text).startswith(_BUCKETS)


def check_workdir(text: str, *, name: str) -> None:
    """Raises UsageError if the text is an address, such as 'ftp://host/run', but not one in a supported bucket."""
    if not is_bucket(text):
        check_local(text, name=name, buckets="give an address that begins with gs:// or s3://, mount the bucket")


def local_path(text: str | os.PathLike, *, name: str, only_utf8: bool = False) -> Path:
    """Returns the path with a leading `~` or `~user` replaced by the home directory.

    Args:
      text: the path, which need not exist.
      name: for messages, the flag, config key or kind of file whose path this is, for example '--workdir'.
      only_utf8: refuse a path with bytes that are not UTF-8, which Orbax, TensorFlow and safetensors cannot open.

    Raises:
      UsageError: it is an address such as gs://bucket/run, the home directory is not known, or it cannot be a path, or
        has bytes that are not UTF-8.
    """
    text = os.fspath(text)
    check_local(text, name=name)
    try:
        path = Path(text).expanduser()
        resolved = path.resolve()
    except RuntimeError as error:
        if not text.startswith("~"):  # pathlib's RuntimeError for symbolic links that form a loop
            raise UsageError(f"{name}={text} cannot be read ({error}): give another path") from None
        raise UsageError(
            f"{name}={text} begins with the home directory of a user, which is not known: give an absolute path, "
            "or set the environment variable HOME"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: the path has a null character
        raise UsageError(f"{name}={text!r} is not a path ({error}): give another path") from None
    if only_utf8:
        _check_utf8(resolved, name=name)
    return path


def _check_utf8(path: Path, *, name: str) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise UsageError(
            f"{name}={shown} has bytes that are not UTF-8, and checkpoints cannot be stored or read there: rename the "
            "directory, or give another one"
        ) from None


def check_local(text: str, *, name: str, buckets: str = "mount the bucket") -> None:
    """Raises UsageError if the text is an address such as gs://bucket/run, or contains '://'.

    Args:
      text: the path or address that the user gave.
      name: for the message, the flag, config key or kind of file whose path this is.
      buckets: for the message, what the user can do if the address is that of a bucket.
    """
    match = _ADDRESS.match(text)
    if not match and "://" not in text:
        return
    scheme = match[1].lower() if match else ""
    cure = f"{buckets}, or copy the files to a disk, and give that path"
    if scheme == "file":
        cure = "leave out 'file://'"
    elif scheme in _DOWNLOADS:
        cure = "download the files, or mount the place where they are, and give that path"
    raise UsageError(f"{name}={text} is not a local path: {cure}")


def with_relative_paths(text: str) -> str:
    """Returns a text in which paths below the current directory are relative to it, as a user would type them."""
    try:
        here = Path.cwd()
    except OSError:  # the current directory was deleted
        return text
    if here == here.parent:
        return text
    return re.sub(rf"(?<![\w.~/-]){re.escape(str(here))}/(?=[^\s/])", "", text)


def is_hub_address(text: str | os.PathLike) -> bool:
    """Returns whether the text is the address of a repository of the Hugging Face Hub, such as 'hf://org/name'."""
    return isinstance(text, str) and text.startswith(_HUB)
