"""Translates a command line of TensorFlow's official r1 ResNet into one of this program.

python -m resnet_jax.programs.r1_flags imagenet_main.py --data_dir=DIR --batch_size=256 --num_gpus=8

Takes a complete r1 command line, or only its flags with --model=imagenet (the default) or --model=cifar10. Prints the
equivalent command; then, as shell comments, a line for each flag that is ignored or means something else here.
docs/migrating_from_tf_r1.md lists all flags.
"""

import difflib
import importlib
import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.programs import recipes
from resnet_jax.programs.command_line import fail
from resnet_jax.programs.r1_flags.meaning import check, is_evaluation, overrides, processes
from resnet_jax.programs.r1_flags.notes import notes
from resnet_jax.programs.r1_flags.table import FLAGS, PROGRAMS, Flag

_DOC = "docs/migrating_from_tf_r1.md"
_MODEL = Flag("model", None, "text", "imagenet", choices=tuple(PROGRAMS))  # added by this translator
_BY_NAME = {name: flag for flag in (*FLAGS, _MODEL) for name in (flag.name, flag.short) if name is not None}
_SWITCH_VALUES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # as absl reads them


class Translation(NamedTuple):
    """The command of this program that replaces a command line of r1, TensorFlow's official ResNet."""

    command: list[str]  # the words of a shell command
    notes: dict[str, str]  # long name of a flag of r1 -> what differs here


def run() -> None:
    """Translates the command line of this process; called by the console script `resnet-jax-r1`."""
    main(sys.argv[1:])


def main(arguments: Sequence[str]) -> None:
    """Prints the translation of a command line; for an invalid one prints one line and exits with status 2."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return
    try:
        command, notes_by_flag = translate(arguments)
    except UsageError as error:
        fail(str(error))
    print(_wrapped(command))
    for name, note in notes_by_flag.items():
        print(f"# --{name}: {note}")


def translate(arguments: Sequence[str]) -> Translation:
    """Translates the words of a command line of r1 (TensorFlow's official ResNet) into a command of this program.

    Raises:
      UsageError: an unknown flag, an invalid value, or flags that r1 does not allow together.
    """
    model, words = _split_off_program(arguments)
    given = {_MODEL.name: model} | parse(words)
    program = PROGRAMS[given.pop(_MODEL.name)]
    values = {flag.name: flag.default for flag in FLAGS} | program.defaults | given
    check(values, program)
    recipe = _recipe(program.recipe)
    changed = {key: value for key, value in overrides(values, program).items() if recipe[key] != value}
    command = recipes.command(program.recipe)
    if is_evaluation(values):
        command.append("--mode=eval")
    if values["model_dir"] is not None:
        command.append(f"--workdir={values['model_dir']}")
    command += processes(values)
    command += [f"--config.{key}={value}" for key, value in changed.items()]
    return Translation(command, notes(given, values, changed, program))


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Parses flags of TensorFlow's r1 ResNet as absl does; returns their values by long name.

    The last value of a repeated flag counts.

    Raises:
      UsageError: a flag is unknown, has an invalid value, or lacks its value.
    """
    given: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or not word.strip("-"):
            raise UsageError(f"{word!r} is not a flag: write --name=value, also for switches")
        name, equals, value = word.lstrip("-").partition("=")
        negated = not equals and name not in _BY_NAME and name.startswith("no")
        flag = _find(name.removeprefix("no") if negated else name, word)
        if flag.kind == "switch":
            given[flag.name] = _read(flag, value) if equals else not negated
        elif negated:
            raise UsageError(f"{word} is not a flag of r1: --{flag.name} is not a switch")
        elif equals or words:
            given[flag.name] = _read(flag, value if equals else words.pop(0))
        else:
            raise UsageError(f"--{flag.name} needs a value: write --{flag.name}=VALUE")
    return given


def _split_off_program(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Splits a command line of TensorFlow's r1 ResNet into the program and its flags.

    Returns:
      The key of the program in `PROGRAMS`, 'imagenet' if the command line names no program; the words of the flags.
    """
    names = {program.name: model for model, program in PROGRAMS.items()}
    for position, word in enumerate(itertools.takewhile(lambda word: not word.startswith("--"), arguments)):
        # `word` may be the path of a program, 'DIR/imagenet_main.py', or its module name after 'python -m'.
        name = word.removesuffix(".py").replace("/", ".").split(".")[-1]
        if name in names:
            return names[name], list(arguments[position + 1 :])
    return _MODEL.default, list(arguments)


def _find(name: str, word: str) -> Flag:
    if name in _BY_NAME:
        return _BY_NAME[name]
    similar = ", ".join(f"--{other}" for other in difflib.get_close_matches(name, _BY_NAME, n=3))
    cure = f"did you mean {similar}? {_DOC} lists all flags" if similar else f"{_DOC} lists all flags"
    raise UsageError(f"{word.partition('=')[0]} is not a flag of r1's ResNet: {cure}")


def _read(flag: Flag, text: str) -> Any:
    """Returns the value of `flag` that `text` stands for; raises UsageError if the flag does not allow that text."""
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
        article = "an" if flag.kind == "integer" else "a"
        raise UsageError(f"--{flag.name}={text} is not {article} {flag.kind}") from None
    if flag.at_least is not None and number < flag.at_least:
        raise UsageError(f"--{flag.name}={text} is out of range: it must be at least {flag.at_least}")
    return number


def _recipe(name: str) -> Mapping[str, Any]:
    """Returns dotted config key -> value of a recipe."""
    return flatten(importlib.import_module(f"resnet_jax.configs.{name}").get_config().to_dict())


def _wrapped(command: list[str]) -> str:
    """Quotes the command for a shell; breaks it into lines if it is longer than 120 characters."""
    words = [shlex.quote(word) for word in command]
    one_line = " ".join(words)
    return one_line if len(one_line) <= 120 else " \\\n  ".join([" ".join(words[:3]), *words[3:]])
