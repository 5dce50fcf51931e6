"""A training run in its work directory: restores the state, runs the loop, and writes the result."""

import contextlib
import logging
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clu import parameter_overview

from resnet_jax.analysis.roofline import peak_flops
from resnet_jax.analysis.step_cost import step_flops
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import decoders
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.mesh import replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import NonFiniteError, UsageError, out_of_memory_as_usage_error
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.programs.recipes import launcher
from resnet_jax.programs.report.at_the_end import next_commands, write_at_the_end
from resnet_jax.programs.train.loop import Position, TrainLoop
from resnet_jax.reporting.compile_events import CompileCounter
from resnet_jax.reporting.profiling import Profile
from resnet_jax.reporting.progress import Progress, keep_log
from resnet_jax.reporting.run_log import Course, Machine, RunLog
from resnet_jax.reporting.run_record import Tracking, begin_record, end_record, log_end, short_path
from resnet_jax.reporting.time_accounting import TimeAccounting, process_age
from resnet_jax.reporting.trackers import check_usable
from resnet_jax.reporting.workdir import FINISHED, Workdir
from resnet_jax.reporting.writers import Writers
from resnet_jax.text import json_number, labelled
from resnet_jax.training.metrics import top5_is_meaningful
from resnet_jax.training.state import TrainState, abstract_state
from resnet_jax.weights.r1_run import find_run

logger = logging.getLogger(__name__)


def train(
    experiment: Experiment,
    workdir: Workdir,
    settings: dict[str, Any],
    requests: StopRequests,
    channel: Channel | None = None,
    accounting: TimeAccounting | None = None,
) -> int:
    """Trains to the end, from the newest checkpoint in the work directory if there is one.

    Args:
      experiment: what to train.
      workdir: the work directory; the caller has locked it and checked that it belongs to this experiment.
      settings: the resolved config, written to `config.json`.
      requests: stop and save requests, checked once per step.
      channel: connects the processes of the run; None: the run has one process.
      accounting: measures wall time and includes the time before this call; None: a new one is made, which includes
        the time since the start of this process.

    Returns:
      The exit status: 0 finished, 75 stopped by a signal after saving, 3 loss or gradient not finite.

    Raises:
      UsageError: the data cannot be read or the disk cannot be written; the state is saved first where possible.
    """
    workdir.check_classes(experiment.data.class_names)
    if channel is None or channel.is_main:
        check_usable(experiment.reporting.trackers)
    with contextlib.ExitStack() as stack:
        accounting = stack.enter_context(accounting or TimeAccounting(age=process_age()))
        run = _Run(experiment, workdir, requests, channel or Channel(), accounting, stack)
        try:
            with out_of_memory_as_usage_error():
                run.open(settings)
                position = run.loop.run(run.states, run.start)
        except NonFiniteError as error:
            return run.end_non_finite(error)
        return run.end(position)


class _Run:
    """One process of a training run: makes the state and the loop, and writes the result after the loop."""

    loop: TrainLoop  # set by `open`

    def __init__(
        self,
        experiment: Experiment,
        workdir: Workdir,
        requests: StopRequests,
        channel: Channel,
        accounting: TimeAccounting,
        stack: contextlib.ExitStack,
    ):
        """Restores the state from the newest checkpoint, or initializes it.

        Everything that this object opens is entered into `stack`, which the caller closes.
        """
        self.experiment, self.workdir, self.requests, self.channel = experiment, workdir, requests, channel
        self.accounting, self.stack = accounting, stack
        self.compile_counter = stack.enter_context(CompileCounter())
        if channel.is_main:
            stack.enter_context(keep_log(workdir.log))
        reporting = experiment.reporting
        for label, line in reporting.description.items():
            logger.info(labelled(label, line))
        self.checkpoints = stack.enter_context(
            Checkpoints(
                workdir.checkpoints,
                keep_latest=reporting.keep_latest,
                keep_best=reporting.keep_best,
                gather=channel.gather,
            )
        )
        channel.before_leaving(self._before_leaving)
        max_bad_examples = experiment.data.reading.max_bad_examples
        self.bad_examples = BadExamples(workdir.bad_examples, at_most=max_bad_examples, channel=channel)
        with accounting.measure("start"):
            state, self.start = self._first_state()
        self.states = [state]  # a list, because `TrainLoop.run` removes the state to free its memory

    def open(self, settings: dict[str, Any]) -> None:
        """Opens the metrics writers, compiles the training and evaluation steps, and makes the loop."""
        with self.accounting.measure("start"):
            writers = self.stack.enter_context(self._begin_record(settings)) if self.channel.is_main else None
        with self.accounting.measure("compile"), self._drawing_inputs(writers):
            train_steps = compile_train_steps(self.experiment)
            flops = {size: step_flops(self.experiment, step, size) for size, step in train_steps.items()}
            evaluator = Evaluator(self.experiment.computation, self.experiment.data, self.bad_examples, self.requests)
        logger.info(labelled("compiled", f"in {self.accounting.seconds()['compile']:.1f} s"))
        # Wait until all processes have compiled: on CPUs, JAX lets the first collective operation wait only 30 s.
        self.channel.gather("")
        traced = self.experiment.reporting.profile if self.channel.is_main else range(0)
        self.loop = TrainLoop(
            experiment=self.experiment,
            train_steps=train_steps,
            flops=flops,
            evaluator=evaluator,
            checkpoints=self.checkpoints,
            bad_examples=self.bad_examples,
            requests=self.requests,
            accounting=self.accounting,
            compile_counter=self.compile_counter,
            log=self._open_log(writers),
            begun=self.workdir.begin,
            profile=self.stack.enter_context(Profile(self.workdir.path, traced)),
            stack=self.stack,
            alone=self.channel.num_processes == 1,
            last_evaluation=self.start.evaluation,
        )

    def end(self, position: Position) -> int:
        """Writes and prints the result; returns the exit status."""
        self._finish_writing()
        self.channel.gather("")  # waits until process 0 has finished writing the checkpoint
        self.bad_examples.collect()
        reason = self.experiment.milestones.stop_reason(position.step, position.evaluation)
        self._write_result(position.step, reason)
        if reason != "signal":
            return 0
        logger.info("Stopped after step %d, which is saved: run the same command again to continue.", position.step)
        return STOPPED

    def end_non_finite(self, error: NonFiniteError) -> int:
        """Writes the result of a run whose loss or gradient is not finite and logs `error`; returns the exit status."""
        self._finish_writing()
        # All processes must call `collect`. They do: all have the same totals, so all have raised NonFiniteError.
        self.bad_examples.collect()
        step, directory = self.checkpoints.latest_step, self.checkpoints.directory
        self._write_result(step or 0, "non_finite", failed_step=error.step)
        good = "no checkpoint was saved" if step is None else f"the last good checkpoint is {directory / str(step)}"
        logger.error(
            "error: %s; %s. The same command would fail again: change the recipe (%s) and use a new --workdir.",
            error,
            good,
            error.cure,
        )
        logger.error(labelled("to explain", f"which layer and which images: {self._replay(error.step)}"))
        return error.exit_status

    def _replay(self, step: int) -> str:
        """Returns the command that replays a step of this run."""
        workdir = shlex.quote(f"--workdir={short_path(self.workdir.path)}")
        return " ".join([*launcher(), workdir, "--mode=replay", f"--config.replay.step={step}"])

    def _before_leaving(self) -> None:
        self.checkpoints.finish()
        if self.workdir.mirror:
            self.workdir.mirror.upload_now()

    def _finish_writing(self) -> None:
        self.loop.log.finish()
        with self.accounting.measure("checkpoint"):
            self.checkpoints.wait()

    def _first_state(self) -> tuple[TrainState, Position]:
        """Returns a new state, or the newest checkpoint of this program or of TensorFlow Models' r1.x ResNet."""
        computation, milestones = self.experiment.computation, self.experiment.milestones
        restored = self.checkpoints.restore_latest(abstract_state(computation.init, replicated(computation.mesh)))
        if restored is not None:
            state, meta = restored
            self.checkpoints.check_data(meta, self.experiment.data.identity)
            logger.info(labelled("continuing", f"from step {meta['step']} of {milestones.total_steps}"))
            return state, Position(meta["step"], evaluation=meta.get("evaluation"))
        r1_checkpoint = find_run(self.workdir.path)
        state = initial_state(self.experiment, r1_checkpoint=r1_checkpoint)
        if r1_checkpoint is not None:
            return state, self._position_of_r1(r1_checkpoint, int(state.step))
        logger.debug("parameters\n%s", parameter_overview.get_parameter_overview(state.params, include_stats=False))
        return state, Position(0)

    def _position_of_r1(self, checkpoint: Path, step: int) -> Position:
        """Returns the position of a TensorFlow Models r1.x ResNet checkpoint. Raises UsageError if no step is left."""
        total_steps = self.experiment.milestones.total_steps
        if step >= total_steps:
            raise UsageError(
                f"{checkpoint} of TensorFlow's r1 ResNet is at step {step}, and this run ends at step {total_steps}: "
                f"evaluate it with --mode=eval --config.eval.checkpoint={checkpoint.parent}, or set a larger "
                "config.train.epochs"
            )
        logger.info(labelled("continuing", f"from step {step} of {total_steps}, a run of TensorFlow's r1 ResNet"))
        return Position(step)

    def _begin_record(self, settings: dict[str, Any]) -> Writers:
        data, reporting = self.experiment.data, self.experiment.reporting
        top5 = top5_is_meaningful(self.experiment.computation.model.num_classes)
        return begin_record(
            self.workdir,
            settings,
            self.start.step,
            data=data.identity,
            class_names=data.class_names,
            tracking=Tracking(reporting.trackers, reporting.settings, () if top5 else ("eval/top5",)),
        )

    @contextlib.contextmanager
    def _drawing_inputs(self, writers: Writers | None) -> Iterator[None]:
        """If the run is new, draws `inputs.png` in a thread while the `with` block runs, then waits for the thread."""
        if writers is None or self.start.step > 0 or not self.experiment.reporting.draws_inputs:
            yield
            return
        from resnet_jax.programs.input_page import write_page  # noqa: PLC0415  matplotlib takes a second to load

        with ThreadPoolExecutor(1, thread_name_prefix="inputs") as thread:
            page = thread.submit(write_page, self.experiment, self.workdir.inputs)
            yield
            pixels = page.result()
        if pixels is not None:
            writers.image(0, "inputs", pixels)

    def _open_log(self, writers: Writers | None) -> RunLog:
        computation, milestones = self.experiment.computation, self.experiment.milestones
        total_steps, devices = milestones.total_steps, computation.mesh.devices
        progress = Progress(start=self.start.step, total_steps=total_steps, visible=self.channel.is_main)
        return RunLog(
            writers=writers,
            progress=self.stack.enter_context(progress),
            accounting=self.accounting,
            machine=Machine(devices.size, peak_flops(devices.flat[0], computation.dtype), self._decoders()),
            course=Course(total_steps, milestones.steps_per_epoch, milestones.log_due),
            num_classes=computation.model.num_classes,
        )

    def _decoders(self) -> dict[str, Any]:
        reading = self.experiment.data.reading
        return {"source": reading.source} | decoders(reading.num_threads, reading.num_workers)

    def _write_result(self, step: int, stop_reason: str, *, failed_step: int | None = None) -> None:
        if not self.channel.is_main:
            return
        best, to_first_step = self.checkpoints.best(), self.accounting.seconds_to_first_step
        phases = self.accounting.seconds()
        seconds = phases | {"total": sum(phases.values())}
        result = {
            "step": step,
            "total_steps": self.experiment.milestones.total_steps,
            "stop_reason": stop_reason,
            "failed_step": failed_step,
            "eval": self.loop.last_evaluation,
            "best": best and {"step": best[0], "top1": best[1]},
            "bad_examples": len(self.bad_examples),
            "images_per_second": json_number(self.loop.log.images_per_second),
            "seconds": {phase: round(spent, 3) for phase, spent in seconds.items()},
            "seconds_to_first_step": to_first_step and round(to_first_step, 3),
            "programs_compiled_later": self.compile_counter.unexpected,
        }
        end_record(result, self.workdir)
        write_at_the_end(self.workdir)
        if stop_reason in FINISHED:
            log_end(result, self.workdir, decoders=self._decoders())
            for line in next_commands(self.workdir):
                logger.info(line)
