"""Entry point of --mode=train."""

import dataclasses
import functools
import os
from typing import Any

from resnet_jax.programs.command import Command
from resnet_jax.programs.session import open_session
from resnet_jax.reporting.workdir import Workdir


def train_recipe(recipe: Any, workdir: str | os.PathLike) -> dict[str, Any]:
    """Trains in this process as `python main.py` does; exported as `resnet_jax.train`.

    Starts a run, or continues the one in the work directory, and writes and prints the same as `--mode=train`.
    Ctrl-C, or the interruption of a notebook's kernel, stops after the current step and saves.

    Args:
      recipe: a config, for example that of `get_recipe`, with changes.
      workdir: directory of the run.

    Returns:
      The content of `result.json` (docs/workdir.md); `stop_reason` says whether the run is finished.

    Raises:
      UsageError: a mistake in the recipe or the data, or the disk cannot be written.
    """
    main(Command(mode="train", config=recipe, workdir=os.fspath(workdir), num_processes=1), age=0.0)
    result = Workdir(workdir).stored_result()
    assert result is not None  # main has written it
    return result


def main(command: Command, *, age: float | None = None) -> int:
    """Trains, or prints the result of a finished run; returns the exit status.

    Args:
      command: the command line.
      age: seconds before this call that count as time of the run, in phase 'import'; None: the time since this process
        started.

    JAX and the modules that use it are imported after `open_session` has installed the signal handlers: the imports
    take seconds, and a signal during that time must already count as a stop request.
    """
    workdir = Workdir(command.workdir)
    with open_session(command, workdir) as (channel, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile_cache import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.run_identity import check_same_run  # noqa: PLC0415
        from resnet_jax.programs.train import further_training  # noqa: PLC0415
        from resnet_jax.programs.train.run import train  # noqa: PLC0415
        from resnet_jax.reporting.time_accounting import TimeAccounting, process_age  # noqa: PLC0415

        accounting = TimeAccounting(age=process_age() if age is None else age)
        command = dataclasses.replace(command, config=experiment.as_begun(command.config, workdir.keys_added_since()))
        settings = experiment.resolve(command.config)
        if channel.is_main:
            defaults = experiment.default_settings()
            cure = functools.partial(further_training.cure, command, workdir)
            workdir.check(settings, may_change=experiment.MAY_CHANGE, defaults=defaults, cure=cure)
        result = workdir.finished(settings) if channel.is_main else None
        check_same_run(channel, settings, workdir)
        if channel.gather("finished" if result else "")[0]:
            if result:
                _show_finished(result, workdir)
                print(*further_training.further_commands(command, workdir, stop_reason=result["stop_reason"]), sep="\n")
            return 0
        # Process 0 builds the experiment first: it may prepare or index the data for the other processes.
        with accounting.measure("start"), channel.first():
            has_begun = workdir.holds_checkpoints()
            built = experiment.build(command.config, cache_dir=workdir.path, refuse_tiny_crops=not has_begun)
        keep_programs()
        return train(built, workdir, settings, requests, channel, accounting)


def _show_finished(result: dict[str, Any], workdir: Workdir) -> None:
    from resnet_jax.programs.report.at_the_end import next_commands  # noqa: PLC0415
    from resnet_jax.reporting.run_record import summary  # noqa: PLC0415

    print(f"Nothing to do: this run is finished, step {result['step']} of {result['total_steps']}.")
    print(*summary(result, workdir), *next_commands(workdir), sep="\n")
