"""The page that `--help` prints."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnet_jax.programs.command import MODES
from resnet_jax.programs.recipes import recipes

_FLAGS = {
    "--config=RECIPE": "name of a recipe, path of a config file or of a run; RECIPE:ARG passes an argument to a recipe",
    "--config.KEY=VALUE": "overrides a config key, for example --config.data.batch_size=256; None unsets optional keys",
    "--workdir=DIR": "the run's directory, default runs/RECIPE; without --config, the config of the run in DIR is used",
    "--mode=MODE": "what to do, default train",
    "--help_keys [PATTERN]": "lists the config keys, or those whose names match a regular expression; with --config, "
    "the values that it sets",
    "--helpfull": "lists every flag, with those of absl, for example --verbosity",
}
_PROCESS_FLAGS = {
    "--coordinator=HOST:PORT": "address of process 0, the same in all processes",
    "--num_processes=N": "number of processes; 1: run alone",
    "--process_id=I": "number of this process, from 0",
    "--join_timeout=SECONDS": "how long to wait for the other processes, default 300",
    "--stall_timeout=SECONDS": "how long another process may stand still before the run ends, default 60",
    "--trust_network": "several processes may connect without the environment variable RESNET_JAX_SECRET",
}
_EXIT_STATUSES = {
    "0": "done",
    "1": "an unexpected error, with a traceback",
    "2": "a mistake in the command, the config or the data, or a full disk: one line says what to change",
    "3": "the loss or the gradient is not finite",
    "75": "stopped by a signal after saving, or another process was lost: run the same command again to continue",
    "128+N": "ended at once by signal N",
}


def is_asked_for(words: Sequence[str]) -> bool:
    """Returns whether a command line contains `--help` or a short form of it, `-h` or `-?`."""
    return bool({"--help", "-help", "-h", "-?"} & set(words))


def help_page() -> str:
    """Returns the text of the page: usage, commands to copy, modes, recipes, flags and exit statuses."""
    program = _program()
    modes = {f"--mode={name}": mode.purpose for name, mode in MODES.items()}
    sections = {
        "Trains ResNets in JAX, and evaluates, uses, exports and measures them.": {},
        "usage": {f"{program} --config=RECIPE [--config.KEY=VALUE ...] [--workdir=DIR] [--mode=MODE]": ""},
        "commands to begin with": {
            f"{program} --config=digits": "train on the bundled digits: half a minute on two CPU cores",
            f"{program} --workdir=runs/digits --mode=eval": "evaluate the trained network",
            f"{program} --workdir=runs/digits --mode=predict IMAGE": "print the likeliest classes of an image file",
        },
        "modes": modes,
        "recipes": {f"--config={name}": purpose for name, purpose in recipes()},
        "flags": _FLAGS,
        "flags of several processes (detected on TPU pods, GKE, Slurm and Open MPI)": _PROCESS_FLAGS,
        "exit status": _EXIT_STATUSES,
    }
    return "\n\n".join("\n".join([title, *_table(rows)]) for title, rows in sections.items())


def _program() -> str:
    name = Path(sys.argv[0]).name
    return {"main.py": "python main.py", "__main__.py": "python -m resnet_jax"}.get(name, name)


def _table(rows: dict[str, str]) -> Iterable[str]:
    width = max(map(len, rows), default=0) + 2
    for left, right in rows.items():
        first, *others = textwrap.wrap(right, max(40, 118 - width)) or [""]
        yield f"  {left:<{width}}{first}".rstrip()
        yield from (" " * (width + 2) + line for line in others)
