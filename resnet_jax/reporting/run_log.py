"""Sums the totals of training steps over windows, and reports each window to the metrics writers and the log."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
from clu import platform

from resnet_jax.errors import NonFiniteError
from resnet_jax.reporting.bottleneck import advice
from resnet_jax.reporting.progress import Progress
from resnet_jax.reporting.time_accounting import TRAINING, TimeAccounting
from resnet_jax.reporting.writers import Writers
from resnet_jax.text import json_numbers
from resnet_jax.training import metrics
from resnet_jax.training.loss_scale import LossScale
from resnet_jax.training.metrics import StepTotals, Totals

_MAX_SKIPPED = 50  # updates in a row; halving finds a loss scale that works in fewer


class Machine(NamedTuple):
    """The hardware that rates and utilisations refer to."""

    devices: int  # number of accelerators of the run, over all processes
    peak_flops: float | None  # FLOPs per second of one device at its data sheet's peak; None if unknown
    decoders: dict[str, int]  # keyword arguments of `advice`: decoding processes, threads, cores


class StepFlops(NamedTuple):
    """FLOPs of one training step on one device; a multiply-accumulate counts as two."""

    model: float  # required by the network (`analysis/model_flops.py`), for model FLOPs utilisation, MFU
    hardware: float  # executed by the compiled program (`analysis/program_cost.py`), for hardware utilisation, HFU


@dataclasses.dataclass
class _Window:
    """The steps since the last report."""

    start: dict[str, float]  # seconds by phase at the start of the window
    model_flops: float = 0.0  # sum over the steps, of one device
    hardware_flops: float = 0.0  # sum over the steps, of one device
    steps: int = 0  # number of steps
    updates: int = 0  # number of steps whose update was not skipped for overflow
    grad_norm: float = 0.0  # sum over the updates
    totals: Totals = dataclasses.field(default_factory=metrics.zero)


class RunLog:
    """Collects the totals of training steps and reports a window of them every `every_steps` steps."""

    def __init__(
        self,
        *,
        writers: Writers | None,
        progress: Progress,
        accounting: TimeAccounting,
        machine: Machine,
        every_steps: int,
        total_steps: int,
        steps_per_epoch: float,
    ):
        """Opens the first window, which starts with the process.

        Args:
          writers: of the metrics, on process 0; None on the others.
          progress: shows each window.
          accounting: measures the wall time by phase.
          machine: the hardware that rates refer to.
          every_steps: length of a window.
          total_steps: number of updates of the whole run.
          steps_per_epoch: may be fractional.
        """
        self._writers = writers
        self._progress = progress
        self._accounting = accounting
        self._machine = machine
        self._every_steps = every_steps
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._images = 0
        self._step = 0
        self._lr = 0.0
        self._loss_scale: LossScale | None = None
        self._skipped = 0  # consecutive updates skipped for overflow
        self._window = _Window(dict.fromkeys(accounting.seconds(), 0.0))
        self._windows = 0

    def add(self, step: int, totals: StepTotals, *, flops: StepFlops) -> None:
        """Fetches the totals of a training step, which waits for the devices, and adds them to the window.

        Args:
          step: number of updates done, this one included.
          totals: arrays on the devices.
          flops: of this step, on one device.

        Raises:
          NonFiniteError: the loss or the gradient norm is not finite, or too many updates in a row were skipped.
        """
        fetched = jax.device_get(totals)
        self._check(step, fetched)
        if not self._step:
            self._progress.first_step(self._accounting.mark_first_step(), self._accounting.seconds())
        self._step, self._lr, self._loss_scale = step, float(fetched.lr), fetched.loss_scale
        self._window.steps += 1
        self._window.model_flops += flops.model
        self._window.hardware_flops += flops.hardware
        self._window.updates += fetched.examples.count > 0
        self._window.grad_norm += float(fetched.grad_norm)
        self._window.totals = metrics.merge(self._window.totals, fetched.examples)
        self._progress.advance()
        if step % self._every_steps == 0 or step == self._total_steps:
            self._report()

    def finish(self) -> None:
        """Reports the last window, if it has any steps, and closes the progress bar."""
        if self._window.steps:
            self._report()
        self._progress.close()

    def evaluation(self, step: int, totals: Totals) -> dict[str, Any]:
        """Reports an evaluation at `step`; returns its step, scalars and example count as JSON values."""
        scalars = metrics.scalars(totals) | {"count": totals.count}
        self._progress.evaluation(step, scalars)
        if self._writers:
            self._writers.scalars(step, "eval", scalars)
        return {"step": step, **json_numbers(scalars)}

    @property
    def images_per_second(self) -> float:
        """Mean rate since process start, over the time spent in the phases `TRAINING`; NaN before the first window."""
        training = _training(self._accounting.seconds())
        return self._images / training if self._images else math.nan

    def _check(self, step: int, fetched: StepTotals) -> None:
        loss, grad_norm, count = float(fetched.examples.loss), float(fetched.grad_norm), int(fetched.examples.count)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NonFiniteError(f"step {step}: loss {loss / count}, gradient norm {grad_norm}")
        self._skipped = 0 if count else self._skipped + 1
        if self._skipped >= _MAX_SKIPPED:
            scale = float(fetched.loss_scale.scale)
            problem = f"step {step}: {self._skipped} gradients in a row not finite, loss scale {scale:g}"
            raise NonFiniteError(problem, cure="a lower loss.scale, or loss.scale_growth_steps, which adapts it")

    def _report(self) -> None:
        window, now = self._window, self._accounting.seconds()
        self._window = _Window(now)
        self._images += window.totals.count
        spent = {phase: seconds - window.start[phase] for phase, seconds in now.items()}
        scalars = metrics.scalars(window.totals) | {
            "grad_norm": window.grad_norm / window.updates if window.updates else math.nan,
            "lr": self._lr,
            "epoch": self._step / self._steps_per_epoch,
            **_rates(window, _training(spent), self._machine),
            **_shares(spent),
        }
        if self._loss_scale is not None:
            scalars |= {"loss_scale": float(self._loss_scale.scale), "skipped_steps": int(self._loss_scale.skipped)}
        if self._writers:
            self._writers.scalars(self._step, "train", scalars)
        seconds_left = (self._total_steps - self._step) * _training(spent) / window.steps
        self._progress.train(self._step, scalars | {"seconds_left": seconds_left})
        self._windows += 1
        if self._windows > 1:  # the first window includes the start of the decoders
            self._progress.advise(advice(spent, **self._machine.decoders))
        platform.work_unit().set_task_status(f"step {self._step} of {self._total_steps}, loss {scalars['loss']:.4f}")


def _training(seconds: dict[str, float]) -> float:
    return sum(seconds[phase] for phase in TRAINING)


def _rates(window: _Window, seconds: float, machine: Machine) -> dict[str, float]:
    """Returns the rates of a window, and the shares of the peak FLOPs where that is known.

    `mfu`, model FLOPs utilisation, counts the FLOPs that the network requires; `hfu`, hardware FLOPs utilisation, those
    of the compiled program, recomputation included (Chowdhery et al. 2022, PaLM, appendix B).

    Args:
      window: of steps.
      seconds: wall time of the window in the phases `TRAINING`.
      machine: the hardware.
    """
    rate = window.totals.count / seconds
    rates = {"images_per_second": rate, "images_per_second_per_device": rate / machine.devices}
    if machine.peak_flops is not None:
        rates["mfu"] = window.model_flops / seconds / machine.peak_flops
        rates["hfu"] = window.hardware_flops / seconds / machine.peak_flops
    return rates


def _shares(spent: dict[str, float]) -> dict[str, float]:
    """Returns the wall time of a window in seconds, and the share of each phase; the shares add up to 1."""
    total = sum(spent.values())
    return {"seconds": total, **{f"share_{phase}": seconds / total for phase, seconds in spent.items()}}
