"""A parsed command line, and the table of modes."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple


class Mode(NamedTuple):
    """A value of --mode."""

    program: str  # module whose `main(command)` runs the mode and returns the exit status
    purpose: str  # one line for --help
    run_again: str  # why a user would run the same command again, for error messages: 'to continue', 'to export'
    many_processes: bool = False  # whether several processes can run the mode together
    takes_paths: bool = False  # whether the mode takes arguments that are not flags: paths of images or runs
    needs_config: bool = True  # whether --config, or --workdir with the directory of a run, must be given
    starts_jax: bool = True  # whether the process of this mode computes with JAX, not only its children


_PROGRAMS = "resnet_jax.programs"
MODES = {
    "train": Mode(f"{_PROGRAMS}.train.main", "train, or continue a run", "to continue", many_processes=True),
    "eval": Mode(
        f"{_PROGRAMS}.evaluation.main",
        "evaluate a checkpoint and write a certificate of the result",
        "to evaluate",
        many_processes=True,
    ),
    "predict": Mode(
        f"{_PROGRAMS}.predict", "print the likeliest classes of image files", "to predict", takes_paths=True
    ),
    "compare": Mode(
        f"{_PROGRAMS}.comparison.main",
        "say which evaluated run is better, beyond chance: RUN RUN ..., or several seeds, RUN RUN vs RUN RUN",
        "to compare",
        takes_paths=True,
        needs_config=False,
        starts_jax=False,
    ),
    "average": Mode(
        f"{_PROGRAMS}.averaging.main",
        "average checkpoints, with batch norm statistics computed anew: weights for all other modes",
        "to average",
    ),
    "diff": Mode(
        f"{_PROGRAMS}.difference.main",
        "say why two runs differ, and at which step their losses part: RUN RUN",
        "to compare",
        takes_paths=True,
        needs_config=False,
        starts_jax=False,
    ),
    "replay": Mode(
        f"{_PROGRAMS}.replay.main",
        "compute a training step again: its images, its numbers, and where the first one that is not finite arises",
        "to replay",
    ),
    "export": Mode(f"{_PROGRAMS}.export.main", "write the model as a JAX artifact or a TF SavedModel", "to export"),
    "show": Mode(f"{_PROGRAMS}.show", "draw training and evaluation images as the network sees them", "to draw again"),
    "check_data": Mode(
        f"{_PROGRAMS}.check_data.main", "read all images once and say what would harm training", "to check the data"
    ),
    "plan": Mode(f"{_PROGRAMS}.plan", "compile only: print memory, FLOPs and the least time of a run", "to plan"),
    "sweep": Mode(
        f"{_PROGRAMS}.sweep.main",
        "train every combination of some settings with several seeds, and compare them",
        "to continue",
        starts_jax=False,
    ),
    "report": Mode(
        f"{_PROGRAMS}.report.main",
        "write report.html, one file that shows a run, or several runs together: RUN ...",
        "to write the report",
        takes_paths=True,
        needs_config=False,
        starts_jax=False,
    ),
    "doctor": Mode(
        f"{_PROGRAMS}.doctor.main",
        "check whether machine, software, data and work directory are ready: a line each, with the cure",
        "to check again",
        many_processes=True,
        needs_config=False,
        starts_jax=False,
    ),
    "benchmark": Mode(f"{_PROGRAMS}.benchmark", "measure the training speed of this machine", "to benchmark"),
    "prepare": Mode(
        f"{_PROGRAMS}.prepare.main",
        "make the ImageNet data set from its archives, or a copy of other data",
        "to prepare",
        starts_jax=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A parsed command line."""

    mode: str  # key of `MODES`
    config: Any  # a ConfigDict, or None in a mode that needs none; only `resnet_jax.experiment` reads its keys
    workdir: str
    paths: tuple[str, ...] = ()  # images, folders, '-' for a list on stdin; in modes such as compare, runs
    coordinator: str | None = None  # HOST:PORT of process 0; None: from the cluster's environment variables
    num_processes: int | None = None
    process_id: int | None = None
    join_timeout: float = 300.0  # seconds to wait for the other processes
    stall_timeout: float = 60.0  # seconds without a sign of life after which another process counts as stopped
    trust_network: bool = False  # whether process 0 may listen without a secret where other machines can reach it

    @property
    def run_again(self) -> str:
        """Why a user would run the same command again, for error messages: for --mode=train 'to continue'."""
        return MODES[self.mode].run_again


def default_workdir(config_file: str) -> str:
    """Returns the work directory of a command without --workdir: 'runs/resnet50_fast-32' for 'DIR/resnet50_fast.py:32'.

    For the config of an existing run, 'DIR/run.py:WORKDIR' or 'DIR/run.py:WORKDIR/config.json', returns WORKDIR.

    Args:
      config_file: path of the config file and, after a colon, the argument for it, if there is one.
    """
    path, _, argument = config_file.partition(":")
    name = Path(path).stem
    if name == "run":
        return str(Path(argument).parent) if argument.endswith(".json") else argument
    return str(Path("runs", "-".join(filter(None, [name, argument]))))
