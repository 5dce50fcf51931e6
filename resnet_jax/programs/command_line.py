"""Parses the command line; a mistake ends the process with one line and status 2 instead of a traceback."""

import io
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict

from resnet_jax.errors import UsageError
from resnet_jax.programs.help_keys import help_keys, keys_pattern
from resnet_jax.programs.recipes import FOLDER, RUN, locate, recipes
from resnet_jax.programs.unset_keys import split_unset

# What ml_collections raises for an unknown key or a value of the wrong type.
_MISTAKES = (AttributeError, KeyError, TypeError)

NO_CONFIG = "--config is missing: name a recipe, for example --config=resnet50, or an existing run with --workdir=DIR"


def parse(argv: list[str]) -> list[str]:
    """Parses the flags and returns the words that are not flags; for `absl.app.run(flags_parser=...)`.

    Exits with status 2 for a mistake in the flags or in the file of --config, and with 0 after `--help_keys`.
    """
    _print_keys_if_asked(argv)
    argv = _with_config_of_run(argv)
    given = [value for _, value in _values(argv, "config")]
    if not given and any(_is_override(word) for word in argv):
        workdirs = [value for _, value in _values(argv, "workdir")]
        fail(f"{workdirs[-1]} holds no run: {NO_CONFIG}" if workdirs else NO_CONFIG)
    if given:
        _check_overrides(argv, given[-1], _load(given[-1]))
    try:
        argv, unset = split_unset(argv)
        words = flags.FLAGS(_with_config_files(argv))
        if unset:
            flags.FLAGS.config.update_from_flattened_dict(dict.fromkeys(unset))
    except (flags.Error, UsageError, *_MISTAKES) as error:
        fail(_one_line(error))
    return words


def allow_any_file_names() -> None:
    """Lets stdin and stdout carry file names with bytes that are invalid in the encoding of the stream."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 or stream is sys.stdin else "backslashreplace")


def fail(message: str, status: int = UsageError.exit_status) -> NoReturn:
    """Prints `error: MESSAGE` to stderr and exits with `status`."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _print_keys_if_asked(argv: list[str]) -> None:
    """Prints the config keys and exits if the command line has the flag `--help_keys`."""
    pattern = keys_pattern(argv[1:])
    if pattern is None:
        return
    try:
        print(help_keys(pattern))
    except UsageError as error:
        fail(str(error))
    sys.exit(0)


def _with_config_of_run(argv: list[str]) -> list[str]:
    """Adds --config for the run in --workdir, if that directory holds a run and --config is not given."""
    workdirs = [value for _, value in _values(argv, "workdir")]
    if _values(argv, "config") or not workdirs or not Path(workdirs[-1], "config.json").expanduser().exists():
        return argv
    return [argv[0], f"--config={RUN}:{workdirs[-1]}", *argv[1:]]


def _with_config_files(argv: list[str]) -> list[str]:
    """Replaces the recipe or run that --config names by the path of its config file.

    For example, --config=resnet50_fast:32 becomes --config=DIR/resnet50_fast.py:32.
    """
    argv = list(argv)
    for position, value in _values(argv, "config"):
        file, argument = locate(value)
        located = ":".join([str(file), *argument])
        argv[position] = f"--config={located}" if "=" in argv[position] else located
    return argv


def _values(argv: list[str], flag: str) -> list[tuple[int, str]]:
    """Returns every value of a flag with the position of the word that holds it: '--FLAG=VALUE' or '--FLAG' 'VALUE'."""
    return list(_find_values(argv, flag))


def _find_values(argv: list[str], flag: str) -> Iterator[tuple[int, str]]:
    for position, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name not in (f"--{flag}", f"-{flag}"):
            continue
        if equals:
            yield position, value
        elif position + 1 < len(argv):
            yield position + 1, argv[position + 1]


def _is_override(word: str) -> bool:
    """Returns whether a word sets a config key: '--config.KEY=VALUE'."""
    return bool(re.match(r"--?config\.", word))


def _load(value: str) -> ConfigDict:
    """Returns the config of --config=VALUE; see `locate`. Exits with status 2 for a mistake in VALUE or in the file."""
    path, argument = locate(value)
    if not path.is_file():
        names = ", ".join(recipe for recipe, _ in recipes())
        fail(f"config file {path} does not exist: give the path of a file or of a run, or one of the recipes {names}")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            fail(
                f"config file {path} has no function get_config: name a recipe, a config file like those in configs/, "
                "or the work directory of a run"
            )
        return get_config(*argument)
    except (SyntaxError, ValueError, *_MISTAKES) as error:
        fail(_one_line(error) if path == RUN else f"config file {_as_typed(path)}: {_one_line(error)}")


def _as_typed(path: Path) -> str:
    """Returns the name of a recipe for its file in the package, which `locate` found; any other path as it is."""
    return path.stem if path.parent == FOLDER else str(path)


def _check_overrides(argv: list[str], name: str, settings: ConfigDict) -> None:
    """Exits with status 2 if a --config.KEY=VALUE names an unknown key; the message lists the valid names."""
    for word in filter(_is_override, argv):
        section, key = settings, word.lstrip("-").split("=", 1)[0]
        for part in key.split(".")[1:]:
            if not isinstance(section, ConfigDict):
                fail(f"--{key} is not a key of {name}: {part!r} follows a key that holds a value, not keys")
            if part not in section:
                fail(f"--{key} is not a key of {name}: there is no {part!r} among {', '.join(section)}")
            section = section[part]


def _one_line(error: Exception) -> str:
    """Returns the message of `error` on one line, without the list of all config keys that ml_collections appends."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # ml_collections wraps a KeyError in an AttributeError: use the inner text
    message = str(error.args[0]) if error.args else str(error)
    return " ".join(re.sub(r'Other fields present: ".*"(?=\n|$)', "", message, flags=re.DOTALL).split())
