"""Paths that a user gives: with `~` for a home directory, and on this machine's file systems."""

import os
import re
from pathlib import Path

from resnet_jax.errors import UsageError

# 'gs://bucket/run'; `pathlib` shortens it to 'gs:/bucket/run'.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_DOWNLOADS = ("http", "https", "ftp")
_BUCKETS = ("gs://", "s3://")
_HUB = "hf://"  # start of the address of a repository of the Hugging Face Hub, as in huggingface_hub's file system


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
      name: the flag, config key or kind of file that the user gave it for, for example '--workdir', for messages.
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
    except (OSError, ValueError) as error:  # ValueError: a null character
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
      text: what the user gave.
      name: the flag, config key or kind of file that the user gave it for, for the message.
      buckets: what the user can do about a bucket, for the message.
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


def is_hub_address(text: str | os.PathLike) -> bool:
    """Returns whether the text is the address of a repository of the Hugging Face Hub, such as 'hf://org/name'."""
    return isinstance(text, str) and text.startswith(_HUB)
