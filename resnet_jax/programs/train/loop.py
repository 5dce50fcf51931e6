"""The training loop: takes steps, evaluates and saves checkpoints until the last step or a stop request."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jax.stages import Compiled

from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment import Experiment
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.reporting.compile_events import CompileCounter
from resnet_jax.reporting.profiling import Profile
from resnet_jax.reporting.run_log import RunLog, StepFlops
from resnet_jax.reporting.time_accounting import TimeAccounting
from resnet_jax.text import labelled
from resnet_jax.training.metrics import StepTotals
from resnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """How far training has come: the number of updates done, with the results of the last one."""

    step: int  # number of updates done
    evaluation: dict[str, Any] | None = None  # scalars of the evaluation at this step; None: not evaluated
    pending: StepTotals | None = None  # totals of the last update on the devices; None: already fetched
    flops: StepFlops = StepFlops(0.0, 0.0)  # FLOPs of the last update


@dataclasses.dataclass
class TrainLoop:
    """The training loop of one process; `run` may be called only once."""

    experiment: Experiment
    train_steps: dict[int, Compiled]  # image size in pixels -> compiled training step
    flops: dict[int, StepFlops]  # image size in pixels -> FLOPs of a training step
    evaluator: Evaluator
    checkpoints: Checkpoints
    bad_examples: BadExamples
    requests: StopRequests
    accounting: TimeAccounting
    compile_counter: CompileCounter
    log: RunLog
    begun: Callable[[], None]  # called whenever there are new results to keep, see `Workdir.begin`
    profile: Profile
    stack: contextlib.ExitStack  # `run` enters the input pipeline into it; the caller closes it, also after an error
    alone: bool  # whether this is the only process of the run
    last_evaluation: dict[str, Any] | None  # scalars of the latest evaluation of the run

    def run(self, states: list[TrainState], start: Position) -> Position:
        """Trains from `start` to the last step, `eval.stop_at` or a stop request; saves, and returns the last position.

        All processes take the same branches, because every condition has the same value in all processes.
        The totals of a step are fetched after the next step is dispatched, so the devices do not wait for the host.
        Before an evaluation or a save the totals are fetched immediately: a state may be evaluated or saved only if
        loss and gradient of its last step were finite.

        Args:
          states: a list that holds only the state at `start`. The state is removed from the list, because a reference
            that stays in the list would keep the memory of the state allocated.
          start: the position to continue from.

        Raises:
          NonFiniteError: the loss or the gradient is not finite.
          UsageError: the data cannot be read or the disk cannot be written; the state is saved first where possible.
        """
        milestones, position, state = self.experiment.milestones, start, states.pop()
        self._first_step = start.step + 1
        self.requests.begin()
        batches = self._batches(start.step)
        while True:
            due = milestones.evaluation_due(position.step) and position.evaluation is None
            if due and not self.requests.stop_here():
                position = self._evaluate(self._settle(position), state)
            last = position.step >= milestones.total_steps or milestones.good_enough(position.evaluation)
            last = self.requests.stop_here() or last
            save_requested = self.requests.save_here()
            if last or save_requested or position.evaluation or milestones.checkpoint_due(position.step):
                position = self._settle(position)
                self._save(position, state, announce=save_requested and not last)
            if last:
                return position
            batch = self._next(batches, position, state)
            self.profile.before(position.step, state)
            size = batch.image.shape[1]
            state, totals = self.accounting.step(self.train_steps[size], state, batch)
            position = Position(self._settle(position).step + 1, pending=totals, flops=self.flops[size])

    def _batches(self, start: int) -> Iterator[DeviceBatch]:
        data = self.experiment.data
        loaded = host_batches(
            data.train_loader,
            start=start,
            stop=self.experiment.milestones.total_steps,
            num_threads=data.reading.num_threads,
            num_workers=data.reading.num_workers,
            stopping=self.requests.stop_asked,
            worker_lost=self.requests.stop_because,
            stall_timeout=self.requests.stall_timeout,
        )
        self.stack.enter_context(contextlib.closing(loaded))
        batches = self.bad_examples.watch(loaded, data.train_loader, start=start)
        mesh = self.experiment.computation.mesh
        return device_batches(self.accounting.measure_items("input", batches), mesh=mesh)

    def _next(self, batches: Iterator[DeviceBatch], position: Position, state: TrainState) -> DeviceBatch:
        """Returns the next batch. After an error of the input pipeline calls `_save_before_error`, then raises it."""
        try:
            return next(batches)
        except Exception:
            self._save_before_error(position, state)
            raise

    def _settle(self, position: Position) -> Position:
        """Fetches and logs the totals of the last step. Raises NonFiniteError if its loss or gradient is not finite."""
        if position.pending is not None:
            if position.step == self._first_step:
                self.compile_counter.expect_no_more()
            self.log.add(position.step, position.pending, flops=position.flops)
            self.begun()
        return position._replace(pending=None)

    def _evaluate(self, position: Position, state: TrainState) -> Position:
        variables = state.to_evaluate(self.experiment.computation.eval_weights)
        try:
            with self.accounting.measure("eval"):
                totals = self.evaluator(variables, save=lambda: self._write(position, state, announce=True))
        except Exception:
            self._save_before_error(position, state)
            raise
        if totals is None:  # a stop request ended the evaluation early
            return position
        self.last_evaluation = self.log.evaluation(position.step, totals)
        return position._replace(evaluation=self.last_evaluation)

    def _save_before_error(self, position: Position, state: TrainState) -> None:
        """Saves the state after an error, if the run has a single process and has taken a step since its start.

        With several processes, all would have to save at the same step, and the others may have no error. Before the
        first step there is nothing to save: the state was restored from a checkpoint or can be initialized again.
        """
        if self.alone and position.step >= self._first_step:
            self._save(self._settle(position), state)

    def _save(self, position: Position, state: TrainState, *, announce: bool = False) -> None:
        with self.accounting.measure("checkpoint"):
            self._write(position, state, announce=announce)

    def _write(self, position: Position, state: TrainState, *, announce: bool) -> None:
        """Starts to write a checkpoint; with `announce`, waits until it is written and logs its path."""
        data, step = self.experiment.data, position.step
        meta = {
            "step": step,
            "images_seen": step * data.train_loader.batch_size,
            "evaluation": position.evaluation,
            "data": data.identity,
            "network": self.experiment.computation.network,
        }
        top1 = position.evaluation["top1"] if position.evaluation else None
        self.checkpoints.save(step, state, meta=meta, top1=top1)
        self.begun()
        if announce:
            self.checkpoints.wait()
            logger.info(labelled("saved", f"step {step}: {self.checkpoints.directory / str(step)}"))
