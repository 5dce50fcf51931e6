"""Makes commands that continue training from the state of an existing run, in a new work directory.

Messages show these commands if a run is finished, or if its config differs from that of the user's command.
"""

import itertools
import shlex
from typing import Any

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.configs import run
from resnet_jax.errors import UsageError
from resnet_jax.experiment import FurtherTraining, make_further_training
from resnet_jax.files import numbered
from resnet_jax.programs.command import Command
from resnet_jax.programs.recipes import launcher
from resnet_jax.reporting.run_record import short_path
from resnet_jax.reporting.workdir import FINISHED, Workdir
from resnet_jax.text import labelled


def cure(command: Command, workdir: Workdir) -> str:
    """Returns what the user can do if `command` and the run in `workdir` differ, as the end of the error message."""
    new = _new_directory(workdir)
    ways = [] if _has_finished(workdir) else [f"to continue that run with its own config, run {_continue(workdir)}"]
    ways.append(f"to train this config from the beginning, set --workdir={shlex.quote(new)}")
    found = _further_training(command.config, workdir)
    if found is not None:
        parts = "weights, statistics and optimizer state" if found.with_optimizer else "weights and statistics"
        words = " ".join(_command(found, workdir, new))
        ways.append(f"to train further from the {parts} of that run (learning rate: {found.rate}), run {words}")
    return "; ".join(ways)


def further_commands(command: Command, workdir: Workdir, *, stop_reason: str) -> list[str]:
    """Returns a log line with a command that trains a finished run further; [] if there is no such command.

    Args:
      command: the command that found the run finished.
      workdir: the work directory of the run.
      stop_reason: why the run ended, from its `result.json`.
    """
    limit = {"max_steps": "train.max_steps", "stop_at": "eval.stop_at"}.get(stop_reason)
    if limit:
        return [labelled("to continue", f"{_continue(workdir)} --config.{limit}=None")]
    found = _further_training(command.config, workdir)
    if found is None:
        return []
    return [labelled("more epochs", " ".join(_command(found, workdir, _new_directory(workdir))))]


def _has_finished(workdir: Workdir) -> bool:
    result = workdir.stored_result()
    return result is not None and result["stop_reason"] in FINISHED


def _further_training(wanted: Any, workdir: Workdir) -> FurtherTraining | None:
    """Returns how a run with the config `wanted` can start from the newest checkpoint in `workdir`; None: it cannot."""
    step = max(numbered(workdir.checkpoints), default=None)
    if step is None:
        return None
    try:
        meta, _ = files.read_meta(workdir.checkpoints / str(step))
        stored, num_images = run.get_config(str(workdir.path)), meta["data"]["train"]["examples"]
        return make_further_training(stored, wanted, run=_shown(workdir), step=step, num_images=num_images)
    # Returns None after an error, so that the caller prints its message without such a command.
    except (DamagedError, KeyError, TypeError, ValueError, UsageError):
        return None


def _continue(workdir: Workdir) -> str:
    return " ".join([*launcher(), shlex.quote(f"--workdir={_shown(workdir)}")])


def _command(found: FurtherTraining, old: Workdir, new: str) -> list[str]:
    flags = [f"--config={_shown(old)}", f"--workdir={new}"]
    flags += [f"--config.{key}={value}" for key, value in found.keys.items()]
    return [*launcher(), *map(shlex.quote, flags)]


def _shown(workdir: Workdir) -> str:
    return workdir.mirror.address if workdir.mirror else short_path(workdir.path)


def _new_directory(workdir: Workdir) -> str:
    """Returns the first of PATH-2, PATH-3, ... that does not exist; for a bucket, ADDRESS-2 even if that exists."""
    path = workdir.path
    if workdir.mirror:
        return f"{workdir.mirror.address}-2"
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return short_path(next(candidate for candidate in numbered if not candidate.exists()))
