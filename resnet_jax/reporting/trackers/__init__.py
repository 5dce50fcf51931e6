"""Experiment trackers such as TensorBoard and Weights & Biases, which get the metrics of a run; one module for each."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import UsageError
from resnet_jax.reporting.trackers.tracker import TrackedRun, Tracker

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "check_names", "check_usable", "open_tracker"]


class _Entry(NamedTuple):
    """The module of a tracker, and the packages that it needs."""

    module: str  # has `open_tracker(run)`, and `check()` if the tracker also needs a login or the address of a server
    packages: tuple[str, ...]  # import names of the packages that must be installed
    install: str  # command that installs these packages


TRACKERS = {
    "tensorboard": _Entry("event_files", ("tensorboard",), "pip install tensorboard"),
    "clu": _Entry("clu_events", ("tensorflow", "tensorboard"), "pip install -e '.[tensorflow]'"),
    "wandb": _Entry("wandb_run", ("wandb",), "pip install wandb"),
    "mlflow": _Entry("mlflow_run", ("mlflow",), "pip install mlflow-skinny"),
}


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError if one of `names`, the value of `log.trackers`, is unknown or given twice."""
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"config.log.trackers={names!r}: {name!r} is not one of {', '.join(TRACKERS)}")
    if len(set(names)) < len(names) or {"tensorboard", "clu"} <= set(names):
        problem = "'tensorboard' and 'clu' write the same files" if "clu" in names else "a name is there twice"
        raise UsageError(f"config.log.trackers={names!r}: {problem}, remove one of the two")


def check_usable(names: Sequence[str]) -> None:
    """Raises UsageError if a tracker lacks its package, its login or the address of its server."""
    for name in names:
        missing = [package for package in TRACKERS[name].packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UsageError(
                f"config.log.trackers has {name!r}, and {missing[0]} is not installed: {TRACKERS[name].install}, "
                "or remove the name"
            )
        if hasattr(_module(name), "check"):
            _module(name).check()


def open_tracker(name: str, run: TrackedRun) -> Tracker:
    """Opens the tracker of this name, a key of `TRACKERS`; imports its package. May raise any error."""
    return _module(name).open_tracker(run)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{TRACKERS[name].module}")
