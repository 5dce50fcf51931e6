"""Replaces --flagfile=FILE by the flags in FILE, one on each line, before other modules read the command line.

absl would do this when it parses the flags. That is too late for arguments that set config keys, and absl opens any
path, even a FIFO or a device such as /dev/zero, which it would read forever.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import local_path

_FLAG = ("--flagfile", "-flagfile")
_MOST_BYTES = 2**20
_MOST_FILES = 20  # longest chain of flag files in which each file contains the --flagfile of the next


def expand(argv: Sequence[str]) -> list[str]:
    """Returns a command line in which each --flagfile=FILE is replaced by the flags in FILE.

    Args:
      argv: the name of the program, then its arguments.

    Raises:
      UsageError: a file cannot be read, is not text, is larger than 1 MiB, or contains itself through its --flagfile.
    """
    for file in _files_in(argv[1:]):
        _check(file, [])
    return [*argv[:1], *flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]


def _files_in(words: Sequence[str]) -> list[Path]:
    """Returns the files of all --flagfile=FILE and --flagfile FILE among the arguments `words`."""
    found = []
    for word, following in itertools.pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        file = (value if equals else following).strip()
        if name in _FLAG and file:  # absl ignores an empty value
            found.append(local_path(file, name="--flagfile"))
    return found


def _check(file: Path, above: Sequence[Path]) -> None:
    """Raises UsageError if absl could not read `file`, or a flag file named in it.

    Args:
      file: the flag file.
      above: the chain of flag files that leads to `file`, starting with that of the command line.
    """
    if file in above or len(above) == _MOST_FILES:
        raise UsageError(
            f"--flagfile={above[0]} leads to flag files that contain each other: remove one of their --flagfile lines"
        )
    try:
        content = read_regular(file)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has {len(content):,} bytes")
        lines = content.decode().splitlines()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(
            f"--flagfile={file} cannot be read ({reason}): give a text file of at most 1 MiB with a flag on each line"
        ) from None
    for other in _files_in([line.strip() for line in lines]):
        _check(other, [*above, file])
