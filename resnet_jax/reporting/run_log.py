"""The record of a training run: sums of steps become scalars, scalars go to the writers and the screen."""

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
from resnet_jax.training import metrics
from resnet_jax.training.loss_scale import LossScale
from resnet_jax.training.metrics import StepTotals, Totals

_MOST_LEFT_OUT = 50  # a good scale is found in fewer


class Machine(NamedTuple):
    """What rates are held to."""

    devices: int
    peak_flops: float | None  # a second, of one device; None: unknown
    decoders: dict[str, int]  # what makes the images, see `advice`


@dataclasses.dataclass
class _Window:
    """The steps since the last report."""

    start: dict[str, float]  # seconds by part of the accounting before it
    flops: float = 0.0  # of one device
    steps: int = 0
    updates: int = 0  # the same without those that were left out
    grad_norm: float = 0.0  # sum over the updates
    totals: Totals = dataclasses.field(default_factory=metrics.zero)


class RunLog:
    """Collects the totals of training steps and reports a window of them every so many steps."""

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
        """Opens a window that reaches back to the beginning of the accounting; `writers` only on process 0."""
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
        self._left_out = 0  # updates, in a row
        self._window = _Window(dict.fromkeys(accounting.seconds(), 0.0))
        self._windows = 0

    def add(self, step: int, totals: StepTotals, *, flops: float) -> None:
        """Waits for the totals of the update that led to `step` and takes them in.

        Args:
          step: updates done.
          totals: on the devices.
          flops: of the step, on each device.

        Raises:
          NonFiniteError: the loss or the gradient norm is, or too many updates in a row were left out for that.
        """
        fetched = jax.device_get(totals)
        self._check(step, fetched)
        if not self._step:
            self._progress.first_step(self._accounting.mark_first_step(), self._accounting.seconds())
        self._step, self._lr, self._loss_scale = step, float(fetched.lr), fetched.loss_scale
        self._window.steps += 1
        self._window.flops += flops
        self._window.updates += fetched.examples.count > 0
        self._window.grad_norm += float(fetched.grad_norm)
        self._window.totals = metrics.merge(self._window.totals, fetched.examples)
        self._progress.advance()
        if step % self._every_steps == 0 or step == self._total_steps:
            self._report()

    def finish(self) -> None:
        """Reports a last window that is not full, and ends the display."""
        if self._window.steps:
            self._report()
        self._progress.close()

    def evaluation(self, step: int, totals: Totals) -> dict[str, Any]:
        """Reports an evaluation; returns its step, its scalars and `count` as JSON values."""
        scalars = metrics.scalars(totals) | {"count": totals.count}
        self._progress.evaluation(step, scalars)
        if self._writers:
            self._writers.scalars(step, "eval", scalars)
        return {"step": step, **metrics.finite(scalars)}

    @property
    def images_per_second(self) -> float:
        """Since this process began, while it trained: without loading, compiling, evaluating and saving."""
        training = _training(self._accounting.seconds())
        return self._images / training if self._images else math.nan

    def _check(self, step: int, fetched: StepTotals) -> None:
        loss, grad_norm, count = float(fetched.examples.loss), float(fetched.grad_norm), int(fetched.examples.count)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NonFiniteError(f"step {step}: loss {loss / count}, gradient norm {grad_norm}")
        self._left_out = 0 if count else self._left_out + 1
        if self._left_out >= _MOST_LEFT_OUT:
            scale = float(fetched.loss_scale.scale)
            problem = f"step {step}: {self._left_out} gradients in a row not finite, loss scale {scale:g}"
            raise NonFiniteError(problem, cure="a lower loss.scale, or loss.scale_growth_steps, which adapts it")

    def _report(self) -> None:
        window, now = self._window, self._accounting.seconds()
        self._window = _Window(now)
        self._images += window.totals.count
        spent = {part: seconds - window.start[part] for part, seconds in now.items()}
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
        if self._windows > 1:  # the first has the start of the decoders in it
            self._progress.advise(advice(spent, **self._machine.decoders))
        platform.work_unit().set_task_status(f"step {self._step} of {self._total_steps}, loss {scalars['loss']:.4f}")


def _training(seconds: dict[str, float]) -> float:
    return sum(seconds[part] for part in TRAINING)


def _rates(window: _Window, seconds: float, machine: Machine) -> dict[str, float]:
    """How fast a window was trained in so many seconds; `mfu` is the share of the peak FLOPs (model FLOPs utilisation).

    FLOPs are those of the compiled program: what it computes twice is counted twice.
    """
    rate = window.totals.count / seconds
    rates = {"images_per_second": rate, "images_per_second_per_device": rate / machine.devices}
    if machine.peak_flops is not None:
        rates["mfu"] = window.flops / seconds / machine.peak_flops
    return rates


def _shares(spent: dict[str, float]) -> dict[str, float]:
    """The wall time of a window, and what share of it went where; the shares add up to 1."""
    total = sum(spent.values())
    return {"seconds": total, **{f"share_{part}": seconds / total for part, seconds in spent.items()}}
