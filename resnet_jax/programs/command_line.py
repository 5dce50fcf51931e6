"""Parses the command line; a mistake ends the process with one line and status 2 instead of a traceback."""

import io
import os
import re
import runpy
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from resnet_jax.config_keys import check_bounds, check_keys, check_paths
from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError, unusable_path_as_usage_error
from resnet_jax.local_paths import is_bucket, kind_of, local_path, with_relative_paths
from resnet_jax.nested import flatten
from resnet_jax.old_settings import translated_flag
from resnet_jax.programs import flag_files
from resnet_jax.programs.help_keys import help_keys, keys_pattern
from resnet_jax.programs.recipes import FOLDER, RUN, locate, recipes
from resnet_jax.programs.unset_keys import split_unset
from resnet_jax.storage.mirror import restored
from resnet_jax.text import printable

# Types of the errors that ml_collections raises for an unknown config key, for a value of the wrong type, and for a
# value that is too long or too deeply nested.
_MISTAKES = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError)

# The command line after flag files are expanded and keys of earlier versions renamed. ml_collections looks for
# --config.KEY=VALUE in this list instead of `sys.argv`.
WORDS: list[str] = []

_MOST_CAUSES = 10  # how many nested errors are unwrapped at most, because an error may contain itself

NO_CONFIG = "--config is missing: name a recipe, for example --config=resnet50, or an existing run with --workdir=DIR"


def parse(argv: list[str]) -> list[str]:
    """Parses the flags and returns the other arguments; made for `absl.app.run(flags_parser=...)`.

    Exits with status 2 for a mistake in the flags or in the file of --config, and with 0 after `--help_keys`.
    """
    try:
        with unusable_path_as_usage_error():
            return _parse(argv)
    except UsageError as error:
        fail(str(error))


def _parse(argv: list[str]) -> list[str]:
    argv = flag_files.expand(argv)
    argv = _with_config_of_run([translated_flag(word) for word in argv])
    given = [value for _, value in _values(argv, "config")]
    _print_keys_if_asked(argv, given)
    if not given and any(_is_override(word) for word in argv):
        workdirs = [value for _, value in _values(argv, "workdir")]
        fail(f"{workdirs[-1]} holds no run: {NO_CONFIG}" if workdirs else NO_CONFIG)
    if given:
        _check_overrides(argv, given[-1], _load(given[-1]))
    try:
        argv, unset = split_unset(argv)
        WORDS[:] = _with_config_files(argv)
        words = flags.FLAGS(WORDS)
        if unset:
            flags.FLAGS.config.update_from_flattened_dict(dict.fromkeys(unset))
        if given:
            _check_values(flatten(flags.FLAGS.config.to_dict()))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # ml_collections runs the config file, which can raise anything
        fail(_mistake(error, given))
    return words


def open_missing_streams() -> None:
    """Connects stdin, stdout and stderr to /dev/null where the process was started without them.

    Otherwise Python's `sys.stdout` is None, and the next file that is opened gets the number of the missing stream, so
    that messages of libraries would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="backslashreplace"))  # noqa: PTH123, SIM115


def check_current_directory() -> None:
    """Exits with status 2 if the current directory was deleted: no relative path has a meaning then."""
    try:
        Path.cwd()
    except OSError as error:
        fail(f"the current directory cannot be used ({error.strerror}): change to another one with cd")


def allow_any_file_names() -> None:
    """Lets stdin and stdout carry file names with bytes that are invalid in the encoding of the stream."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 or stream is sys.stdin else "backslashreplace")


def print_and_exit(text: str) -> NoReturn:
    """Prints `text` to stdout and exits with status 0; if stdout cannot be written, with a status that is not 0."""
    try:
        print(text, flush=True)
    except OSError as error:
        close_stdout()
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        fail(f"stdout cannot be written ({error.strerror}): send it elsewhere")
    sys.exit(0)


def close_stdout() -> None:
    """Connects stdout, which cannot be written, to /dev/null, so that Python does not print an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, status: int = UsageError.exit_status) -> NoReturn:
    """Prints `error: MESSAGE` to stderr and exits with `status`."""
    print(f"error: {with_relative_paths(printable(message))}", file=sys.stderr)
    sys.exit(status)


def _print_keys_if_asked(argv: list[str], given: list[str]) -> None:
    """Prints the config keys, with the values of --config, and exits if the command line has the flag `--help_keys`."""
    pattern = keys_pattern(argv[1:])
    if pattern is None:
        return
    text = help_keys(pattern)  # finds a mistake in the pattern before the config file is run
    if given:
        values = flatten(_load(given[-1]).to_dict())
        text = help_keys(pattern, values=values, name=given[-1].removeprefix(f"{RUN}:"))
    print_and_exit(text)


def _with_config_of_run(argv: list[str]) -> list[str]:
    """Adds --config for the run in --workdir, if that directory holds a run and --config is not given."""
    workdirs = [value for _, value in _values(argv, "workdir")]
    if _values(argv, "config") or not workdirs or not _holds_config(workdirs[-1]):
        return argv
    return [argv[0], f"--config={RUN}:{workdirs[-1]}", *argv[1:]]


def _holds_config(workdir: str) -> bool:
    path = restored(workdir) if is_bucket(workdir) else local_path(workdir, name="--workdir")
    return (path / "config.json").exists()


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
    """Returns (index in `argv`, value) for each value of a flag: '--FLAG=VALUE', or '--FLAG' followed by 'VALUE'."""
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
    """Returns whether an argument sets a config key: '--config.KEY=VALUE'."""
    return bool(re.match(r"--?config\.", word))


def _load(value: str) -> ConfigDict:
    """Returns the config of --config=VALUE; see `locate`. Exits with status 2 for a mistake in VALUE or in the file."""
    path, argument = locate(value)
    if not path.is_file():
        names, kind = ", ".join(recipe for recipe, _ in recipes()), kind_of(path)
        problem = "does not exist" if kind == "nothing" else f"is {kind}"
        fail(f"config file {path} {problem}: give the path of a file or of a run, or one of the recipes {names}")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config(*argument) if callable(get_config) else None
        if isinstance(config, ConfigDict):
            keys = flatten(config.to_dict())  # computes lazy values, which can raise anything too
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config file is code and can raise anything
        fail(_one_line(error) if path == RUN else f"config file {_as_typed(path)}{_line(error, path)}: {_cause(error)}")
    if not callable(get_config):
        fail(
            f"config file {path} has no function get_config: name a recipe, a config file like those in configs/, "
            "or the work directory of a run"
        )
    if not isinstance(config, ConfigDict):
        fail(
            f"config file {path}: get_config returns a {type(config).__name__} instead of a ConfigDict: let it change "
            "and return default.get_config(), as the recipes do"
        )
    try:
        check_keys(KEYS, keys, file=_as_typed(path))
    except UsageError as error:
        fail(str(error))
    except TypeError as error:  # a config key that is not a string
        fail(f"config file {_as_typed(path)}: {_cause(error)}")
    return config


def _mistake(error: BaseException, given: list[str]) -> str:
    """Returns the message for an error of parsing the flags; raises the error again if it is not a mistake of the user.

    Args:
      error: the error.
      given: the values of --config.
    """
    path = locate(given[-1])[0] if given else None
    # If the config file raises an OSError, ml_collections raises another error with that OSError as its cause.
    cause = error.__cause__ or error
    if path is not None and (line := _line(cause, path)):
        return f"config file {_as_typed(path)}{line}: {_cause(cause)}"
    if isinstance(cause, OSError) and cause is not error:
        return _one_line(cause)
    if isinstance(error, (flags.Error, UsageError, *_MISTAKES)):
        return _one_line(error)
    raise error


def _line(error: BaseException, path: Path) -> str:
    """Returns ', line N', the line of the config file `path` in which an error was raised; '' for a recipe."""
    if path.resolve().parent == FOLDER.resolve():  # an error of a recipe is about its argument, not its code
        return ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines and lines[-1] else ""


def _cause(error: BaseException) -> str:
    """Returns the message of an error on one line, after the name of its type if the message alone may be unclear."""
    clear = isinstance(error, AttributeError | TypeError | ValueError | UsageError) and error.args
    text = _one_line(error)
    return text if clear and text else f"{type(error).__name__}{': ' * bool(text)}{text}"


def _check_values(values: Mapping[str, Any]) -> None:
    """Raises UsageError if one of `values`, by dotted key, is out of range, or is a path that is not local."""
    check_bounds(KEYS, values)
    check_paths(KEYS, values)


def _as_typed(path: Path) -> str:
    """Returns the name of the recipe, such as 'digits', if `path` is a recipe of this package; else `path` as text."""
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


def _one_line(error: BaseException) -> str:
    """Returns the message of `error` on one line, without the list of all config keys that ml_collections appends."""
    for _ in range(_MOST_CAUSES):
        if error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # ml_collections wraps a KeyError in an AttributeError: use the inner message
    try:
        message = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
    except BaseException:  # the config file has defined the type of the error, and its `__str__` fails
        message = ""
    return " ".join(re.sub(r'Other fields present: ".*"(?=\n|$)', "", message, flags=re.DOTALL).split())
