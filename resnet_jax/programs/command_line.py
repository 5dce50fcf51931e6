"""Flags whose mistakes are one line: absl and ml_collections answer some with a traceback."""

import io
import re
import runpy
import sys
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict

from resnet_jax.errors import UsageError

# What ml_collections raises for a key that is not there or a value of the wrong type.
_MISTAKES = (AttributeError, KeyError, TypeError)

NO_CONFIG = "--config is missing, as --config=configs/resnet50.py; or name by --workdir=DIR a run, whose config it is"


def parse(argv: list[str]) -> list[str]:
    """Parses the flags and returns the rest; for `absl.app.run(flags_parser=...)`.

    A mistake in them, or in the file that --config names, is printed and ends the process with status 2.
    """
    argv = _with_config_of_run(argv)
    files = _values(argv, "config")
    if not files and any(re.match(r"--?config\.", arg) for arg in argv):
        fail(NO_CONFIG if not _values(argv, "workdir") else f"{_values(argv, 'workdir')[-1]} holds no run: {NO_CONFIG}")
    if files:
        path, *argument = files[-1].split(":", 1)
        _check_overrides(argv, path, _load(path, *argument))
    try:
        return flags.FLAGS(argv)
    except (flags.Error, *_MISTAKES) as error:
        fail(_one_line(error))


def pass_any_names() -> None:
    """Lets names of files through stdin and stdout that are no UTF-8, or cannot be shown."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 or stream is sys.stdin else "backslashreplace")


def _with_config_of_run(argv: list[str]) -> list[str]:
    """Adds the config of the run that --workdir names, where none is named and there is one."""
    workdirs = _values(argv, "workdir")
    if _values(argv, "config") or not workdirs or not Path(workdirs[-1], "config.json").expanduser().exists():
        return argv
    return [argv[0], f"--config={Path(argv[0]).parent / 'configs' / 'run.py'}:{workdirs[-1]}", *argv[1:]]


def _values(argv: list[str], flag: str) -> list[str]:
    """All values that a flag is given."""
    pairs = zip(argv, [*argv[1:], ""], strict=True)
    return [_value(arg, after) for arg, after in pairs if re.fullmatch(f"--?{flag}(=.*)?", arg)]


def fail(message: str, status: int = UsageError.exit_status) -> NoReturn:
    """Prints one line and exits."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _value(arg: str, after: str) -> str:
    """The value of a flag given as '--config=value' or as '--config value'."""
    return arg.split("=", 1)[1] if "=" in arg else after


def _load(path: str, *argument: str) -> ConfigDict:
    if not Path(path).is_file():
        fail(f"config file {path} does not exist")
    try:
        return runpy.run_path(path)["get_config"](*argument)
    except (SyntaxError, ValueError, *_MISTAKES) as error:
        fail(f"config file {path}: {_one_line(error)}")


def _check_overrides(argv: list[str], path: str, settings: ConfigDict) -> None:
    """Fails on an override of a key that is not there, with a list of those that are."""
    for arg in argv:
        if not re.match(r"--?config\.", arg):
            continue
        section, key = settings, arg.lstrip("-").split("=", 1)[0]
        for name in key.split(".")[1:]:
            if not isinstance(section, ConfigDict):
                fail(f"--{key} is no key of {path}: there are no keys below a value")
            if name not in section:
                fail(f"--{key} is no key of {path}: there is no {name!r} among {', '.join(section)}")
            section = section[name]


def _one_line(error: Exception) -> str:
    """The message without ml_collections' dump of all fields, on one line."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # an AttributeError around a KeyError, whose text is quoted twice
    message = str(error.args[0]) if error.args else str(error)
    return " ".join(re.sub(r'Other fields present: ".*"(?=\n|$)', "", message, flags=re.DOTALL).split())
