"""Translates a command line of the r1.x ResNet of the TensorFlow Models repository into one of this program.

python -m resnet_jax.programs.r1_flags imagenet_main.py --data_dir=DIR --batch_size=256 --num_gpus=8

Takes a complete r1 command line, or only its flags with --model=imagenet (the default) or --model=cifar10. Prints the
equivalent command, for --export_dir followed by a second command, which exports; then, as shell comments, a line for
each flag that is ignored or means something else here.
docs/migrating_from_tf_r1.md lists all flags.
"""

import importlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.programs import recipes
from resnet_jax.programs.command_line import fail
from resnet_jax.programs.r1_flags.meaning import check, export_keys, is_evaluation, overrides, processes
from resnet_jax.programs.r1_flags.notes import notes
from resnet_jax.programs.r1_flags.table import FLAGS, PROGRAMS
from resnet_jax.programs.r1_flags.words import MODEL, NO_FLAG, parse, split_off_program

_HELP = {"--help", "--helpshort", "--helpfull", "-h", "-help", "-?", "--?"}


class Translation(NamedTuple):
    """Commands that replace a command line of the r1.x ResNet of the TensorFlow Models repository."""

    command: list[str]  # the arguments of a shell command, which trains or evaluates
    notes: dict[str, str]  # name of a flag, or `NO_FLAG` and an argument that is no flag -> what differs here
    export: list[str]  # the arguments of a second command, which exports; [] if r1 would not export


def run() -> None:
    """Translates the command line of this process; called by the console script `resnet-jax-r1`."""
    main(sys.argv[1:])


def main(arguments: Sequence[str]) -> None:
    """Prints the translation of a command line; for an invalid one prints an error and exits with status 2."""
    if _HELP & set(arguments):
        print(__doc__)
        return
    try:
        command, notes_by_flag, export = translate(arguments)
    except UsageError as error:
        fail(str(error))
    print(" && \\\n".join(_wrapped(words) for words in (command, export) if words))
    for name, note in notes_by_flag.items():
        print(f"# {name if name.startswith(NO_FLAG) else '--' + name}: {note}")


def translate(arguments: Sequence[str]) -> Translation:
    """Translates a command line of r1, the r1.x ResNet of the TensorFlow Models repository.

    Raises:
      UsageError: an unknown flag, an invalid value, or flags that r1 does not allow together.
    """
    model, words = split_off_program(arguments)
    parsed = parse(words, after_program=model is not None)
    given = {MODEL.name: model or MODEL.default} | parsed.given
    program = PROGRAMS[given.pop(MODEL.name)]
    values = {flag.name: flag.default for flag in FLAGS} | program.defaults | given
    check(values, given, program)
    recipe = _recipe(program.recipe)
    changed = {key: value for key, value in overrides(values, program).items() if recipe[key] != value}
    start = recipes.command(program.recipe)
    workdir = [] if values["model_dir"] is None else [f"--workdir={values['model_dir']}"]
    mode = ["--mode=eval"] if is_evaluation(values) else []
    more = [f"--config.{key}={value}" for key, value in changed.items()]
    command = [*start, *mode, *workdir, *processes(values), *parsed.passed_on, *more]
    export = []
    if values["export_dir"] is not None:
        keys = {key: value for key, value in export_keys(values).items() if recipe[key] != value}
        more += [f"--config.{key}={value}" for key, value in keys.items()]
        export = [*start, "--mode=export", *workdir, *more]
    return Translation(command, notes(given, values, changed, program) | parsed.notes, export)


def _recipe(name: str) -> Mapping[str, Any]:
    """Returns the config of a recipe: dotted key -> value."""
    return flatten(importlib.import_module(f"resnet_jax.configs.{name}").get_config().to_dict())


def _wrapped(command: list[str]) -> str:
    """Quotes the command for a shell; breaks it into lines if it is longer than 120 characters."""
    words = [shlex.quote(word) for word in command]
    one_line = " ".join(words)
    return one_line if len(one_line) <= 120 else " \\\n  ".join([" ".join(words[:3]), *words[3:]])
