"""Reads the records of a run: config, starts, losses and metrics."""

from typing import Any, NamedTuple

import numpy as np

from resnet_jax.configs import run as run_config
from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten, has_shape
from resnet_jax.reporting.metrics_file import read_columns
from resnet_jax.reporting.step_file import read_bits
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import printable

_START_SHAPE = {
    "versions": (dict, None),
    "devices": ([str], None),
    "processes": (int, None),
    "host": (str, None),
    "git_commit": (str, None),
    "data": (dict, None),
    "code": ({"sources_sha256": (str, None), "uncommitted": (dict, None)}, None),
}


class Run(NamedTuple):
    """What a run has recorded in its work directory: settings, starts and metrics."""

    word: str  # the argument of the command line that names the run
    workdir: Workdir
    config: Any  # a ConfigDict; only `resnet_jax.experiment` reads its keys
    settings: dict[str, Any]  # dotted config key -> value
    starts: list[dict[str, Any]]  # each start of the run, from `provenance.describe_start`; [] if none is recorded
    bits: np.ndarray  # [N, 2] uint32, bits of the float32 loss and gradient norm of each step; N = 0 if not recorded
    lines: dict[str, np.ndarray]  # training metric -> its value in each line of `metrics.jsonl`

    @property
    def start(self) -> dict[str, Any]:
        """The record (versions, devices, data, code) of the first start of the run; {} if there is none."""
        return self.starts[0] if self.starts else {}

    @property
    def steps(self) -> int:
        """The last step for which the run has recorded the loss; 0 if there is none."""
        return max(len(self.bits), *map(int, self.lines.get("step", ())), 0)


def read_run(word: str) -> Run:
    """Reads the run in a work directory.

    Raises:
      UsageError: the directory holds no run, its config cannot be read, or a directory or a pipe has the name of one of
        its files.
    """
    workdir = Workdir(word)
    if not (workdir.path / "config.json").exists():
        raise UsageError(f"{printable(word)} holds no run: name two work directories, --mode=diff RUN RUN")
    workdir.check_kinds()
    try:
        config = run_config.get_config(str(workdir.path))
    except ValueError as error:
        raise UsageError(str(error)) from None
    settings = flatten(config.to_dict())
    lines = read_columns(workdir.metrics).get("train", {}) if workdir.metrics.exists() else {}
    return Run(
        word=word,
        workdir=workdir,
        config=config,
        settings={key.name: settings[key.name] for key in KEYS},
        starts=[start for start in workdir.starts() if has_shape(start, _START_SHAPE)],
        bits=read_bits(workdir.steps),
        lines=lines,
    )
