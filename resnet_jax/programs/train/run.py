"""Training: the loop, and what goes on around it."""

import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from clu import parameter_overview

from resnet_jax.analysis.program_cost import device_flops
from resnet_jax.analysis.roofline import peak_flops
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.feed import decoders, device_batches, host_batches
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.mesh import replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import NonFiniteError, out_of_memory_as_usage_error
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.reporting.compile_events import CompileCounter
from resnet_jax.reporting.profiling import Profile
from resnet_jax.reporting.progress import Progress, keep_log
from resnet_jax.reporting.run_log import Machine, RunLog
from resnet_jax.reporting.run_record import begin_record, end_record
from resnet_jax.reporting.time_accounting import TimeAccounting, process_age
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.reporting.writers import Writers
from resnet_jax.training.metrics import StepTotals
from resnet_jax.training.state import TrainState, abstract_state

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """Where the loop is."""

    step: int  # updates done
    evaluation: dict[str, Any] | None = None  # scalars of an evaluation at this very step
    pending: StepTotals | None = None  # totals, on the devices, of the update that led here
    flops: float = 0.0  # of that update, on each device


def train(
    experiment: Experiment,
    workdir: Workdir,
    settings: dict[str, Any],
    requests: StopRequests,
    channel: Channel | None = None,
    accounting: TimeAccounting | None = None,
) -> int:
    """Trains to the end, continuing what is in the work directory.

    Args:
      experiment: what to train.
      workdir: checked to be that of this experiment.
      settings: the resolved config, to be written down.
      requests: to stop or to save; looked at once a step.
      channel: between the processes of the run; None: there is only this one.
      accounting: of what was done for this run before; None: nothing was.

    Returns:
      The exit status: 0 done, 75 stopped by a signal after saving, 3 not finite.

    Raises:
      UsageError: the data or the disk failed; what could be saved is.
    """
    workdir.check_classes(experiment.class_names)
    with contextlib.ExitStack() as stack:
        accounting = stack.enter_context(accounting or TimeAccounting(age=process_age()))
        run = _Run(experiment, workdir, requests, channel or Channel(), accounting, stack)
        try:
            with out_of_memory_as_usage_error():
                run.open(settings, stack)
                position = run.loop()
        except NonFiniteError as error:
            return run.end_non_finite(error)
        return run.end(position)


class _Run:
    """One process's part in a run."""

    def __init__(
        self,
        experiment: Experiment,
        workdir: Workdir,
        requests: StopRequests,
        channel: Channel,
        accounting: TimeAccounting,
        stack: contextlib.ExitStack,
    ):
        """Restores or makes the state; what is opened is to be closed by `stack`."""
        self.experiment, self.workdir, self.plan, self.requests = experiment, workdir, experiment.plan, requests
        self.stack = stack
        self.accounting, self.compiled = accounting, stack.enter_context(CompileCounter())
        self.channel, self.is_main = channel, channel.is_main
        if self.is_main:
            stack.enter_context(keep_log(workdir.log))
        for part, line in experiment.description.items():
            logger.info("%-12s %s", part, line)
        self.checkpoints = stack.enter_context(
            Checkpoints(workdir.checkpoints, **experiment.keep, gather=channel.gather)
        )
        channel.before_leaving(self.checkpoints.finish)
        self.bad_examples = BadExamples(workdir.bad_examples, at_most=experiment.max_bad_examples, channel=channel)
        with self.accounting.measure("start"):
            self.state, self.start = self._first_state()
        self.last_evaluation = self.start.evaluation

    def open(self, settings: dict[str, Any], stack: contextlib.ExitStack) -> None:
        """Opens the writers, which load TensorFlow meanwhile, and compiles."""
        with self.accounting.measure("start"):
            writers = stack.enter_context(self._begin_record(settings)) if self.is_main else None
        with self.accounting.measure("compile"):
            self.train_steps = compile_train_steps(self.experiment)
            self.evaluator = Evaluator(self.experiment, self.bad_examples, self.requests)
            parts = self.experiment.parts
            self.flops = {size: device_flops(step, parts=parts) for size, step in self.train_steps.items()}
        logger.info("compiled     in %.1f s", self.accounting.seconds()["compile"])
        self.log = self._open_log(writers, stack)
        traced = self.experiment.profile if self.is_main else range(0)
        self.profile = stack.enter_context(Profile(self.workdir.path, traced))

    def loop(self) -> Position:
        """Evaluates, saves, then makes a step, until the last step or a signal.

        All processes take the same way through it: what they decide by is the same in all of them.
        The totals of a step are fetched after the next one was dispatched: the devices never wait for the host.
        Only an evaluation or a save waits for them first, for a state is good only if its last step was finite.
        """
        state, at = self.state, self.start
        del self.state  # the first step takes its memory
        self.requests.begin()
        batches = self._batches(at.step)
        while True:
            if self.plan.evaluation_due(at.step) and at.evaluation is None and not self.requests.stop_here():
                at = self._evaluate(self._settle(at), state)
            last = at.step >= self.plan.total_steps or self.plan.good_enough(at.evaluation)
            last = self.requests.stop_here() or last
            asked = self.requests.save_here()
            if last or asked or at.evaluation or self.plan.checkpoint_due(at.step):
                at = self._settle(at)
                self._save(at, state, say=asked and not last)
            if last:
                return at
            batch = self._next(batches, at, state)
            self.profile.before(at.step, state)
            size = batch.image.shape[1]
            state, totals = self.accounting.step(self.train_steps[size], state, batch)
            at = Position(self._settle(at).step + 1, pending=totals, flops=self.flops[size])

    def end(self, position: Position) -> int:
        """Writes and prints how it ended; returns the exit status."""
        self.log.finish()
        with self.accounting.measure("checkpoint"):
            self.checkpoints.wait()
        self.channel.gather("")  # what process 0 saves is saved
        reason = self.plan.stop_reason(position.step, position.evaluation)
        self._write_result(position.step, reason)
        if reason != "signal":
            return 0
        logger.info("Stopped after step %d, which is saved: run the same command again to continue.", position.step)
        return STOPPED

    def end_non_finite(self, error: NonFiniteError) -> int:
        """Writes and prints how it failed; returns the exit status."""
        self.log.finish()
        with self.accounting.measure("checkpoint"):
            self.checkpoints.wait()
        step, directory = self.checkpoints.latest_step, self.checkpoints.directory
        self._write_result(step or 0, "non_finite")
        good = "none was saved" if step is None else f"the last good checkpoint is {directory / str(step)}"
        logger.error(
            "error: %s; %s. Run again, it would fail again: change the recipe (%s) in a new --workdir.",
            error,
            good,
            error.cure,
        )
        return error.exit_status

    def _first_state(self) -> tuple[TrainState, Position]:
        """The newest checkpoint, or the state of step 0."""
        sharding = replicated(self.experiment.mesh)
        restored = self.checkpoints.restore_latest(abstract_state(self.experiment.init, sharding))
        if restored is not None:
            state, meta = restored
            self.checkpoints.check_data(meta, self.experiment.data)
            logger.info("continuing   from step %d of %d", meta["step"], self.plan.total_steps)
            return state, Position(meta["step"], evaluation=meta["evaluation"])
        state = initial_state(self.experiment)
        logger.debug("parameters\n%s", parameter_overview.get_parameter_overview(state.params, include_stats=False))
        return state, Position(0)

    def _begin_record(self, settings: dict[str, Any]) -> Writers:
        return begin_record(
            self.workdir,
            settings,
            self.start.step,
            data=self.experiment.data,
            class_names=self.experiment.class_names,
            tensorboard=self.experiment.tensorboard,
            first_images=self.experiment.train_loader.first_images,
        )

    def _open_log(self, writers: Writers | None, stack: contextlib.ExitStack) -> RunLog:
        total_steps, devices = self.plan.total_steps, self.experiment.mesh.devices
        made_by = decoders(self.experiment.num_threads, self.experiment.num_workers)
        progress = Progress(start=self.start.step, total_steps=total_steps, visible=self.is_main)
        return RunLog(
            writers=writers,
            progress=stack.enter_context(progress),
            accounting=self.accounting,
            machine=Machine(devices.size, peak_flops(devices.flat[0], self.experiment.dtype), made_by),
            every_steps=self.plan.log_every_steps,
            total_steps=total_steps,
            steps_per_epoch=self.plan.steps_per_epoch,
        )

    def _batches(self, start: int) -> Iterator[DeviceBatch]:
        experiment = self.experiment
        loaded = host_batches(
            experiment.train_loader,
            start=start,
            stop=self.plan.total_steps,
            num_threads=experiment.num_threads,
            num_workers=experiment.num_workers,
            stopping=self.requests.stop_asked,
        )
        self.stack.enter_context(contextlib.closing(loaded))  # with its threads and processes, before an error is said
        batches = self.bad_examples.watch(loaded, experiment.train_loader, start=start)
        return device_batches(self.accounting.measure_items("input", batches), mesh=experiment.mesh)

    def _settle(self, at: Position) -> Position:
        """Takes the pending totals into the log. Raises NonFiniteError if the state is spoilt."""
        if at.pending is not None:
            if at.step == self.start.step + 1:
                self.compiled.expect_no_more()
            self.log.add(at.step, at.pending, flops=at.flops)
        return at._replace(pending=None)

    def _evaluate(self, at: Position, state: TrainState) -> Position:
        variables = state.to_evaluate(self.experiment.eval_weights)
        try:
            with self.accounting.measure("eval"):
                totals = self.evaluator(variables, save=lambda: self._write(at, state, say=True))
        except Exception:
            self._save_what_can_be(at, state)
            raise
        if totals is None:
            return at
        self.last_evaluation = self.log.evaluation(at.step, totals)
        return at._replace(evaluation=self.last_evaluation)

    def _save(self, at: Position, state: TrainState, *, say: bool = False) -> None:
        with self.accounting.measure("checkpoint"):
            self._write(at, state, say=say)

    def _write(self, at: Position, state: TrainState, *, say: bool) -> None:
        images = at.step * self.experiment.train_loader.batch_size
        meta = {
            "step": at.step,
            "images_seen": images,
            "evaluation": at.evaluation,
            "data": self.experiment.data,
            "network": self.experiment.network,
        }
        top1 = at.evaluation["top1"] if at.evaluation else None
        self.checkpoints.save(at.step, state, meta=meta, top1=top1)
        if say:
            self.checkpoints.wait()
            logger.info("saved        step %d: %s", at.step, self.checkpoints.directory / str(at.step))

    def _next(self, batches: Iterator[DeviceBatch], at: Position, state: TrainState) -> DeviceBatch:
        """The next batch."""
        try:
            return next(batches)
        except Exception:
            self._save_what_can_be(at, state)
            raise

    def _save_what_can_be(self, at: Position, state: TrainState) -> None:
        """Saves the state before an error; not where other processes would have to come along."""
        if self.channel.num_processes == 1:
            self._save(self._settle(at), state)

    def _write_result(self, step: int, stop_reason: str) -> None:
        if not self.is_main:
            return
        rate, best, seconds = self.log.images_per_second, self.checkpoints.best(), self.accounting.seconds()
        to_first_step = self.accounting.seconds_to_first_step
        result = {
            "step": step,
            "total_steps": self.plan.total_steps,
            "stop_reason": stop_reason,
            "eval": self.last_evaluation,
            "best": best and {"step": best[0], "top1": best[1]},
            "bad_examples": len(self.bad_examples),
            "images_per_second": rate if math.isfinite(rate) else None,
            "seconds": {part: round(spent, 3) for part, spent in (seconds | {"total": sum(seconds.values())}).items()},
            "seconds_to_first_step": to_first_step and round(to_first_step, 3),
            "programs_compiled_later": self.compiled.unexpected,
        }
        made_by = decoders(self.experiment.num_threads, self.experiment.num_workers)
        end_record(result, self.workdir, decoders=made_by)
