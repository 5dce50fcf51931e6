"""Translates a command line of TensorFlow's official r1 ResNet into one of this program.

python -m resnet_jax.programs.r1_flags imagenet_main.py --data_dir=DIR --batch_size=256 --num_gpus=8

Takes a whole old command line, or its flags alone with --model=imagenet (the default) or --model=cifar10. Prints the
command with the same meaning; then, as comments, a line for each flag that has none here, or another one than in r1.
docs/migrating_from_tf_r1.md has the whole table.
"""

import difflib
import importlib
import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.programs.command_line import fail
from resnet_jax.programs.r1_flags.meaning import check, notes, overrides, processes
from resnet_jax.programs.r1_flags.table import FLAGS, PROGRAMS, Flag

_DOC = "docs/migrating_from_tf_r1.md"
_MODEL = Flag("model", None, "text", "imagenet", choices=tuple(PROGRAMS))  # no flag of r1
_BY_NAME = {name: flag for flag in (*FLAGS, _MODEL) for name in (flag.name, flag.short) if name is not None}
_SWITCH_VALUES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # absl's


class Translation(NamedTuple):
    """What a command line of r1 means here."""

    command: list[str]
    notes: dict[str, str]  # by flag


def main(arguments: Sequence[str]) -> None:
    """Prints the translation of a command line; a mistake in it is one line, and status 2."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return
    try:
        command, explained = translate(arguments)
    except UsageError as error:
        fail(str(error))
    print(_wrapped(command))
    for name, note in explained.items():
        print(f"# --{name}: {note}")


def translate(arguments: Sequence[str]) -> Translation:
    """Returns the command of this program for the words of one of r1's.

    Raises:
      UsageError: no flag of r1, a value that it does not take, or flags that do not go together.
    """
    model, words = _split_off_program(arguments)
    given = {_MODEL.name: model} | parse(words)
    program = PROGRAMS[given.pop(_MODEL.name)]
    values = {flag.name: flag.default for flag in FLAGS} | program.defaults | given
    check(values, program)
    wanted = overrides(values, program)
    there = _recipe(program.recipe)
    changed = {key: value for key, value in wanted.items() if there[key] != value}
    command = ["python", "main.py", f"--config=configs/{program.recipe}.py"]
    if values["eval_only"] or not values["train_epochs"]:
        command.append("--mode=eval")
    if "model_dir" in given:  # r1's default, /tmp, was shared by all runs
        command.append(f"--workdir={given['model_dir']}")
    command += processes(values)
    command += [f"--config.{key}={value}" for key, value in changed.items()]
    return Translation(command, notes(given, values, changed, program))


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Parses flags of r1 as absl does, into values by long name; the last one counts.

    Raises:
      UsageError: see `translate`.
    """
    given: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or not word.strip("-"):
            raise UsageError(f"{word!r} is no flag: write --name=value, switches included")
        name, equals, value = word.lstrip("-").partition("=")
        negated = not equals and name not in _BY_NAME and name.startswith("no")
        flag = _find(name.removeprefix("no") if negated else name, word)
        if flag.kind == "switch":
            given[flag.name] = _read(flag, value) if equals else not negated
        elif negated:
            raise UsageError(f"{word} is no flag of r1: --{flag.name} is no switch")
        elif equals or words:
            given[flag.name] = _read(flag, value if equals else words.pop(0))
        else:
            raise UsageError(f"--{flag.name} needs a value, as --{flag.name}=VALUE")
    return given


def _split_off_program(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Which of r1's programs a command line begins with, and what comes after it."""
    names = {program.name: model for model, program in PROGRAMS.items()}
    for position, word in enumerate(itertools.takewhile(lambda word: not word.startswith("--"), arguments)):
        # A path, or what comes after 'python -m'.
        name = word.removesuffix(".py").replace("/", ".").split(".")[-1]
        if name in names:
            return names[name], list(arguments[position + 1 :])
    return _MODEL.default, list(arguments)


def _find(name: str, word: str) -> Flag:
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = ", ".join(f"--{other}" for other in difflib.get_close_matches(name, _BY_NAME, n=3))
    cure = f"did you mean {near}? {_DOC} lists them all" if near else f"{_DOC} lists them"
    raise UsageError(f"{word.partition('=')[0]} is no flag of r1's ResNet: {cure}")


def _read(flag: Flag, text: str) -> Any:
    """The value of a flag. Raises UsageError if it is none."""
    if flag.kind == "switch":
        if text.lower() not in _SWITCH_VALUES:
            raise UsageError(f"--{flag.name}={text} is neither true nor false")
        return _SWITCH_VALUES[text.lower()]
    if flag.kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if flag.choices and text not in flag.choices:
        raise UsageError(f"--{flag.name}={text} is not one of {', '.join(flag.choices)}")
    if flag.kind == "text":
        return text
    try:
        number = (int if flag.kind == "integer" else float)(text)
    except ValueError:
        raise UsageError(f"--{flag.name}={text} is no {flag.kind}") from None
    if flag.at_least is not None and number < flag.at_least:
        raise UsageError(f"--{flag.name}={text} is out of range: it must be at least {flag.at_least}")
    return number


def _recipe(name: str) -> Mapping[str, Any]:
    """The settings of a config by dotted key."""
    try:
        module = importlib.import_module(f"configs.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("configs", f"configs.{name}"):
            raise
        raise UsageError(f"there is no configs/{name}.py here: run this where main.py and configs/ are") from None
    return flatten(module.get_config().to_dict())


def _wrapped(command: list[str]) -> str:
    """For a shell; on several lines if it would be long."""
    words = [shlex.quote(word) for word in command]
    one_line = " ".join(words)
    return one_line if len(one_line) <= 120 else " \\\n  ".join([" ".join(words[:3]), *words[3:]])
