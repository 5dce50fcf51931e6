"""Recomputes the training steps of a run from a checkpoint up to a given step, and measures that step."""

import contextlib
import logging
from typing import NamedTuple

import jax
from jax.stages import Compiled

from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.data.batch import DeviceBatch, HostBatch
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.loader import RowOrigin
from resnet_jax.distributed.mesh import replicated
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.experiment.replayed_step import LayerReport, probe_layers, report_step
from resnet_jax.files import numbered
from resnet_jax.programs.replay.recorded import (
    Compared,
    ComparedSteps,
    Window,
    compare,
    compare_steps,
    find_window,
    is_recorded,
)
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled
from resnet_jax.training.layer_probe import ParameterReport, is_finite
from resnet_jax.training.metrics import StepTotals
from resnet_jax.training.state import TrainState, abstract_state
from resnet_jax.weights.r1_run import find_run

logger = logging.getLogger(__name__)


class Replay(NamedTuple):
    """A recomputed step of a run."""

    step: int  # counted from 1, as in `metrics.jsonl`: the update from state `step - 1` to state `step`
    start: int  # step of the checkpoint from which the computation started; 0: the initial state
    totals: dict[int, StepTotals]  # step, counted from 1 -> its totals on the host
    parameters: ParameterReport  # magnitudes of the parameters before the update, and of their gradients
    layers: LayerReport | None  # magnitudes in each layer; None if all numbers of the step are finite
    batch: HostBatch
    origins: list[RowOrigin]  # for each image of the batch, its example and its crop
    window: Window | None  # the line of `metrics.jsonl` to compare with; None: there is none
    compared: list[Compared]
    recorded: ComparedSteps | None  # the comparison with `steps.f32`; None: that file does not contain the step


def replay(experiment: Experiment, workdir: Workdir, step: int, requests: StopRequests) -> Replay | None:
    """Recomputes a step of a run; returns None if a signal has asked to stop.

    Args:
      experiment: the network, data and settings of the run.
      workdir: the work directory of the run, with its checkpoints and `metrics.jsonl`.
      step: number of the step, counted from 1.
      requests: stop requests, checked after each step.

    Raises:
      UsageError: the run has no such step, or its checkpoint cannot be read.
    """
    total = experiment.milestones.total_steps
    if step > total:
        raise UsageError(f"config.replay.step={step}: the run has {total} steps: name one of them")
    window, recorded = find_window(workdir, step), is_recorded(workdir, step)
    state = _state_before(experiment, workdir, step, None if recorded else window)
    start = int(state.step)
    last = step if recorded or window is None else max(step, window.last)
    words = reason(start, step, None if recorded else window)
    logger.info(labelled("replaying", f"steps {start + 1} to {last}, {words}"))
    if recorded and window and not start < window.first <= window.last <= step:
        window = None  # its means cannot be compared without computing all its steps; `steps.f32` is used instead
    requests.begin(saves=False)
    steps = _Steps(experiment, step)
    if not steps.run(state, range(start, last), requests):
        return None
    loader = experiment.data.train_loader
    batch = loader.batch(step - 1).batch
    assert steps.parameters is not None
    return Replay(
        step=step,
        start=start,
        totals=steps.totals,
        parameters=steps.parameters,
        layers=steps.layers,
        batch=batch,
        origins=list(loader.origins(step - 1, range(len(batch.label)))),
        window=window,
        compared=compare(window, steps.totals) if window else [],
        recorded=compare_steps(workdir, steps.totals, step),
    )


def reason(start: int, step: int, window: Window | None) -> str:
    """Returns text for a log line: from which state the computation starts, and why other steps are computed too.

    Args:
      start: step of the checkpoint; 0: the initial state.
      step: the replayed step.
      window: the line of `metrics.jsonl` to compare with, for which all its steps must be computed; None: only `step`
        is compared.
    """
    first = min(step, window.first) if window else step
    text = f"from checkpoint {start}" if start else "from the initial state"
    if not start and first > 1:
        text += f", because the run has no checkpoint before step {first}"
    if window and window.first < window.last:
        text += f"; metrics.jsonl has means over steps {window.first} to {window.last}, and not the values of each step"
    return text


class _Steps:
    """Recomputes training steps, and measures one of them before its update."""

    def __init__(self, experiment: Experiment, measured: int):
        self._experiment, self._measured = experiment, measured
        self._compiled: dict[int, Compiled] = {}  # image size in pixels -> compiled training step
        self.totals: dict[int, StepTotals] = {}
        self.parameters: ParameterReport | None = None
        self.layers: LayerReport | None = None

    def run(self, state: TrainState, steps: range, requests: StopRequests) -> bool:
        """Computes `steps`, counted from 0, from `state` on; returns False if a signal ended the computation."""
        data, mesh = self._experiment.data, self._experiment.computation.mesh
        loaded = host_batches(
            data.train_loader,
            start=steps.start,
            stop=steps.stop,
            num_threads=data.reading.num_threads,
            num_workers=data.reading.num_workers,
            stopping=requests.stop_asked,
            worker_lost=requests.stop_because,
            stall_timeout=requests.stall_timeout,
        )
        with contextlib.closing(loaded):
            batches = device_batches((one.batch for one in loaded), mesh=mesh)
            for step, batch in zip(steps, batches, strict=True):
                if requests.stop_here():
                    return False
                if step + 1 == self._measured:
                    self._measure(state, batch)
                size = batch.image.shape[1]
                if size not in self._compiled:
                    self._compiled[size] = compile_train_step(self._experiment, size)
                state, totals = self._compiled[size](state, batch)
                self.totals[step + 1] = jax.device_get(totals)
        return True

    def _measure(self, state: TrainState, batch: DeviceBatch) -> None:
        computation = self._experiment.computation
        self.parameters = report_step(computation, state, batch)
        if not is_finite(self.parameters):
            logger.info(labelled("probing", "a number of this step is not finite: looking for the first one"))
            self.layers = probe_layers(computation, state, batch)


def _state_before(experiment: Experiment, workdir: Workdir, step: int, window: Window | None) -> TrainState:
    """Returns the newest state from which `step`, and if possible the whole `window`, can be computed."""
    computation, reporting = experiment.computation, experiment.reporting
    with Checkpoints(
        workdir.checkpoints, keep_latest=reporting.keep_latest, keep_best=reporting.keep_best
    ) as checkpoints:
        wanted = min(step, window.first if window else step) - 1
        found = _nearest(numbered(workdir.checkpoints), wanted, step - 1)
        if found:
            state, meta = checkpoints.restore(
                abstract_state(computation.init, replicated(computation.mesh)), step=found
            )
            checkpoints.check_data(meta, experiment.data.identity)
            restored: TrainState = state
            return restored
    state = initial_state(experiment, r1_checkpoint=find_run(workdir.path))
    if int(state.step) >= step:
        raise UsageError(
            f"config.replay.step={step}: this run continued a run of TensorFlow's r1 ResNet at step {int(state.step)}: "
            "name a later step"
        )
    return state


def _nearest(checkpoints: list[int], wanted: int, latest: int) -> int | None:
    """Returns the step of the checkpoint to start from; None: start from the initial state.

    This is the newest checkpoint at or before `wanted`, or else the oldest one at or before `latest`.
    From a checkpoint after `wanted` the replayed step can be computed, but not all steps of the line of `metrics.jsonl`
    to compare with. This is still better than computing all steps of a long run.
    """
    before = [step for step in checkpoints if step <= wanted]
    if before or wanted == 0:
        return before[-1] if before else None
    return next((step for step in checkpoints if step <= latest), None)
