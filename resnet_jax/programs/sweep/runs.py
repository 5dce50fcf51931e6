"""The runs of a sweep: their directories, commands and results."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.experiment.sweep import Sweep
from resnet_jax.reporting.workdir import FINISHED, Workdir

BASE = "base"  # name of the combination of settings in a sweep that varies only the seed
_LONGEST = 80  # maximum length of a directory name; longer names are cut
_OWN = re.compile(r"--?(?:mode|workdir|config\.seed|config\.sweep\.\w+)(=|$)")


class Run(NamedTuple):
    """A run of a sweep."""

    cell: int  # index of its combination of settings
    seed: int
    workdir: Path
    flags: list[str]  # the arguments of the command that trains it

    def result(self) -> dict[str, Any] | None:
        """Returns `result.json`; None if the run has not ended yet, or was stopped by a signal."""
        result = Workdir(self.workdir).stored_result()
        return result if result and result["stop_reason"] in (*FINISHED, "non_finite") else None

    def top1(self) -> float | None:
        """Returns the final top-1 accuracy; None if the run has not ended, or ended because its loss was not finite."""
        result = self.result()
        return result["eval"]["top1"] if result and result["eval"] and result["stop_reason"] in FINISHED else None


def make_runs(sweep: Sweep, directory: Path, words: Sequence[str]) -> list[Run]:
    """Returns the runs in the order in which they are trained: all combinations with the first seed, then the next.

    In this order a sweep that is stopped early has about the same number of seeds for each combination.

    Args:
      sweep: the combinations of settings, and the seeds.
      directory: parent directory of the work directories of the runs.
      words: the arguments of the sweep's command line; --config and config keys are passed on to the runs.
    """
    names = cell_names(sweep.cells)
    passed_on = _passed_on(words)
    runs = []
    for seed in sweep.seeds:
        for number, (cell, name) in enumerate(zip(sweep.cells, names, strict=True)):
            workdir = directory / name / f"seed-{seed}"
            keys = {**cell, "seed": seed}
            flags = [f"--config.{key}={_as_flag(value)}" for key, value in keys.items()]
            runs.append(Run(number, seed, workdir, [*passed_on, f"--workdir={workdir}", *flags]))
    return runs


def cell_names(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a directory name for each combination of settings, such as 'momentum=0.9,base_lr=0.1'."""
    names = []
    for number, cell in enumerate(cells):
        text = ",".join(f"{key.rpartition('.')[2]}={_as_flag(value)}" for key, value in cell.items())
        name = re.sub(r"[^\w.=,+-]+", "-", text).strip("-.,") or BASE
        names.append(name if len(name) <= _LONGEST else f"{number}-{name[:_LONGEST]}")
    return names if len(set(names)) == len(names) else [f"{number}-{name}" for number, name in enumerate(names)]


def _as_flag(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def _passed_on(words: Sequence[str]) -> list[str]:
    """Returns the arguments that are passed on to the runs: all but --mode, --workdir, config.seed, config.sweep.*."""
    kept, skip = [], False
    for word in words:
        match = _OWN.match(word)
        if match:
            skip = not match[1]
        elif not skip:
            kept.append(word)
        else:
            skip = False
    return kept
