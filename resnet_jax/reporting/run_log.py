"""Sums the metrics of training steps over windows of steps; writes each window to the metrics files and the log."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from clu import platform

from resnet_jax.errors import NonFiniteError
from resnet_jax.reporting.bottleneck import advice
from resnet_jax.reporting.progress import Progress
from resnet_jax.reporting.time_accounting import TRAINING, TimeAccounting
from resnet_jax.reporting.writers import Writers
from resnet_jax.text import four_decimals, json_numbers
from resnet_jax.training import metrics
from resnet_jax.training.loss_scale import LossScale
from resnet_jax.training.metrics import StepTotals, Totals

_ADVISED_STEPS = 20  # smallest number of steps on which advice about speed is based: one step may be slow by chance
_MAX_SKIPPED = 50  # number of consecutive updates skipped for overflow after which the run ends with an error


class Machine(NamedTuple):
    """The hardware of a run, from which images/s per device, MFU and HFU are computed."""

    devices: int  # number of accelerators of the run, over all processes
    peak_flops: float | None  # FLOPs per second of one device at its data sheet's peak; None if unknown
    decoders: dict[str, Any]  # keyword arguments of `advice` in bottleneck.py: data source, processes, threads, cores


class Course(NamedTuple):
    """The number of steps of a run, and after which of them it reports metrics."""

    total_steps: int  # number of updates of the whole run
    steps_per_epoch: float  # number of training images / batch size, may be fractional
    report_due: Callable[[int], bool]  # whether to report after a step, counted from 1


class StepFlops(NamedTuple):
    """FLOPs of one training step on one device; a multiply-accumulate counts as two."""

    model: float  # required by the network (`analysis/model_flops.py`), for model FLOPs utilization, MFU
    hardware: float  # executed by the compiled program (`analysis/program_cost.py`), for hardware FLOPs utilization


@dataclasses.dataclass
class _Window:
    """Sums over the training steps since the last report."""

    start: dict[str, float]  # seconds since process start, by phase, at the start of the window
    model_flops: float = 0.0  # model FLOPs of one device, summed over the steps
    hardware_flops: float = 0.0  # hardware FLOPs of one device, summed over the steps
    steps: int = 0  # number of steps
    updates: int = 0  # number of steps whose update was not skipped because of an overflow
    grad_norm: float = 0.0  # gradient norm, summed over the updates
    totals: Totals = dataclasses.field(default_factory=metrics.zero)


class RunLog:
    """Sums the metrics of training steps over windows of steps, and reports each window."""

    def __init__(
        self,
        *,
        writers: Writers | None,
        progress: Progress,
        accounting: TimeAccounting,
        machine: Machine,
        course: Course,
        num_classes: int,
    ):
        """Starts the first window of steps; its wall time counts from the start of the process.

        Args:
          writers: the writers of the metrics files on process 0; None on every other process.
          progress: shows each window on the terminal.
          accounting: measures the wall time by phase.
          machine: hardware of the run.
          course: the number of steps of the run, and the steps at which windows end.
          num_classes: number of outputs of the network; top-5 accuracy is reported if there are more than five.
        """
        self._writers = writers
        self._progress = progress
        self._accounting = accounting
        self._machine = machine
        self._course = course
        self._num_classes = num_classes
        self._images = 0
        self._step = 0
        self._lr = 0.0
        self._loss_scale: LossScale | None = None
        self._skipped = 0  # consecutive updates skipped for overflow
        self._window = _Window(dict.fromkeys(accounting.seconds(), 0.0))
        self._windows = 0  # number of windows reported
        self._judged = _Window(self._window.start)  # the steps since `_advise` last looked for a bottleneck
        self._judgements = 0  # how many times `_advise` has looked for a bottleneck

    def add(self, step: int, totals: StepTotals, *, flops: StepFlops) -> None:
        """Adds the metrics of a training step to the window; waits until the devices have computed them.

        Args:
          step: number of updates done, this one included.
          totals: metrics of the step, as arrays on the devices.
          flops: FLOPs of this step on one device.

        Raises:
          NonFiniteError: the loss or the gradient norm is not finite, or too many updates in a row were skipped.
        """
        fetched = jax.device_get(totals)
        if self._writers:
            self._writers.step(step, float(fetched.examples.loss), float(fetched.grad_norm))
        self._check(step, fetched)
        if not self._step:
            spent, loss = self._accounting.seconds(), metrics.scalars(fetched.examples)["loss"]
            self._progress.first_step(self._accounting.mark_first_step(), spent, loss=loss)
        self._step, self._lr, self._loss_scale = step, float(fetched.lr), fetched.loss_scale
        self._window.steps += 1
        self._window.model_flops += flops.model
        self._window.hardware_flops += flops.hardware
        self._window.updates += fetched.examples.count > 0
        self._window.grad_norm += float(fetched.grad_norm)
        self._window.totals = metrics.merge(self._window.totals, fetched.examples)
        self._progress.advance()
        if self._course.report_due(step):
            self._report()

    def finish(self) -> None:
        """Reports the last window, if it has any steps, and closes the progress bar."""
        if self._window.steps:
            self._report()
        self._progress.close()

    def evaluation(self, step: int, totals: Totals) -> dict[str, Any]:
        """Reports an evaluation at `step`; returns step, loss, accuracies and number of examples as JSON values."""
        scalars = metrics.scalars(totals, num_classes=self._num_classes) | {"count": totals.count}
        self._progress.evaluation(step, scalars)
        if self._writers:
            self._writers.scalars(step, "eval", scalars)
        return {"step": step, **json_numbers(scalars)}

    @property
    def images_per_second(self) -> float:
        """Training images/s since process start, counting only time in the phases `TRAINING`; NaN before any report."""
        training = _training(self._accounting.seconds())
        return self._images / training if self._images else math.nan

    def _check(self, step: int, fetched: StepTotals) -> None:
        loss, grad_norm, count = float(fetched.examples.loss), float(fetched.grad_norm), int(fetched.examples.count)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NonFiniteError(f"loss {loss / count:.6g}, gradient norm {grad_norm:.6g}", step=step)
        self._skipped = 0 if count else self._skipped + 1
        if self._skipped >= _MAX_SKIPPED:
            scale = float(fetched.loss_scale.scale)
            problem = f"{self._skipped} gradients in a row not finite, loss scale {scale:g}"
            cure = "a lower loss.scale, or loss.scale_growth_steps, which adapts it"
            raise NonFiniteError(problem, step=step, cure=cure)

    def _report(self) -> None:
        window, now = self._window, self._accounting.seconds()
        self._window = _Window(now)
        self._images += window.totals.count
        spent = {phase: seconds - window.start[phase] for phase, seconds in now.items()}
        scalars = metrics.scalars(window.totals, num_classes=self._num_classes) | {
            "grad_norm": window.grad_norm / window.updates if window.updates else math.nan,
            "lr": self._lr,
            "epoch": self._step / self._course.steps_per_epoch,
            **_rates(window, _training(spent), self._machine),
            **_shares(spent),
        }
        if self._loss_scale is not None:
            scalars |= {"loss_scale": float(self._loss_scale.scale), "skipped_steps": int(self._loss_scale.skipped)}
        if self._writers:
            self._writers.scalars(self._step, "train", scalars)
        if self._windows or window.steps > 1:  # the first step of a start may be much slower than others
            steps_left = self._course.total_steps - self._step
            scalars = scalars | {"seconds_left": steps_left * _training(spent) / window.steps}
        self._windows += 1
        self._progress.train(self._step, scalars)
        self._advise(window.steps, now)
        status = f"step {self._step} of {self._course.total_steps}, loss {four_decimals(scalars['loss'])}"
        platform.work_unit().set_task_status(status)

    def _advise(self, steps: int, now: dict[str, float]) -> None:
        """Shows advice on the training speed, based on at least `_ADVISED_STEPS` steps.

        Args:
          steps: number of steps in the window that was reported last.
          now: seconds since process start, by phase, at the end of that window.
        """
        self._judged.steps += steps
        if self._judged.steps < _ADVISED_STEPS:
            return
        spent = {phase: seconds - self._judged.start[phase] for phase, seconds in now.items()}
        self._judged, self._judgements = _Window(now), self._judgements + 1
        if self._judgements > 1:  # the first steps include the start-up of the decoding threads and processes
            self._progress.advise(advice(spent, **self._machine.decoders))


def _training(seconds: dict[str, float]) -> float:
    return sum(seconds[phase] for phase in TRAINING)


def _rates(window: _Window, seconds: float, machine: Machine) -> dict[str, float]:
    """Returns images/s of a window of steps, and MFU and HFU if the peak FLOPs of the device are known.

    'mfu', model FLOPs utilization, counts the FLOPs that the network requires. 'hfu', hardware FLOPs utilization,
    counts those that the compiled program executes, with recomputation (Chowdhery et al. 2022, PaLM, appendix B).

    Args:
      window: sums over the steps of the window.
      seconds: wall time of the window in the phases `TRAINING`.
      machine: hardware of the run.
    """
    rate = window.totals.count / seconds
    rates = {"images_per_second": rate, "images_per_second_per_device": rate / machine.devices}
    if machine.peak_flops is not None:
        rates["mfu"] = window.model_flops / seconds / machine.peak_flops
        rates["hfu"] = window.hardware_flops / seconds / machine.peak_flops
    return rates


def _shares(spent: dict[str, float]) -> dict[str, float]:
    """Returns the wall time of a window in seconds, and the share of each phase in it; the shares add up to 1."""
    total = sum(spent.values())
    return {"seconds": total, **{f"share_{phase}": seconds / total for phase, seconds in spent.items()}}
