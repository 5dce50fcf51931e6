"""The config of a new run that starts from the end of a previous run: with more epochs, or with changed config keys."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from resnet_jax.experiment.computed import with_computed
from resnet_jax.experiment.milestones import Milestones, make_milestones, schedule_options
from resnet_jax.nested import flatten
from resnet_jax.training.schedules import create_schedule
from resnet_jax.training.trainable import trainable_pattern
from resnet_jax.weights.compatibility import NETWORK_KEYS

# If one of these config keys differs from the previous run, the new run cannot start from its last state, because the
# network or the data differ.
_ANOTHER_TASK = (*NETWORK_KEYS, "model.num_classes", "model.init_from", "data.source", "data.name")

# If the last learning rate of the previous run is below `_ENDED` times its peak, a new run would hardly learn at this
# rate. The learning rate of the new run then warms up to `_NEW_PEAK` times that peak, a usual rate for fine-tuning, and
# decays again. This does not apply to piecewise schedules.
_ENDED, _NEW_PEAK = 0.01, 0.1
_WARMUP = 0.1  # the warm-up of the new run is this share of its length, but at most one epoch


class FurtherTraining(NamedTuple):
    """How a new run starts from the last state of a previous run."""

    # Config values of the new run by dotted key: those that differ from the previous run. The length of the new run is
    # always among them.
    keys: dict[str, Any]
    with_optimizer: bool  # whether the new run also begins with the optimizer state of the previous run
    rate: str  # the learning rate at the beginning of the new run, in words, for a message


class _End(NamedTuple):
    """The state of a run at its last checkpoint."""

    step: int
    milestones: Milestones
    base_lr: float  # the last learning rate as a value of `schedule.base_lr`; 0 if its decay has ended
    warming_up: bool


def make_further_training(
    stored: ConfigDict, wanted: ConfigDict, *, run: str, step: int, num_images: int
) -> FurtherTraining | None:
    """Returns how a new run with the config `wanted` starts from the last state of a previous run; None if it cannot.

    The new run counts its steps from 0. Its learning rate starts at the last value of the previous run and decays by
    the same kind of schedule, except that it stays constant after a 'piecewise' schedule. If the learning rate of the
    previous run had decayed to less than 1 % of its peak, that of the new run first warms up to 10 % of this peak. The
    new run has another seed, so that it does not repeat the order of the examples and the crops.

    Args:
      stored: config of the previous run.
      wanted: config that the user asked for. If `train.epochs` or `train.total_steps` was changed to more than the
        previous run has done, it is the total of both runs; otherwise it is the length of the new run.
      run: path of the work directory of the previous run.
      step: step of its newest checkpoint.
      num_images: number of its training images.
    """
    before, after = flatten(stored.to_dict()), flatten(wanted.to_dict())
    typed = {key: value for key, value in after.items() if value != before[key]}
    if any(key in typed for key in _ANOTHER_TASK):
        return None
    complete, _ = with_computed(stored, num_images)
    end = _end(complete, step, num_images)
    length = _length(complete, end, typed)
    schedule, rate = _schedule(complete, end, typed, length)
    same_parameters = trainable_pattern(stored.train.trainable) == trainable_pattern(wanted.train.trainable)
    with_optimizer = "optimizer.name" not in typed and same_parameters
    keys = {
        "model.init_from": run,
        "model.init_head": True,
        "model.init_optimizer": with_optimizer,
        "model.allow_missing": (),
        "data.progressive.sizes": (),
        "data.progressive.until_epochs": (),
        "train.max_steps": None,
        "eval.stop_at": None,
        "seed": stored.seed + 1,
        **schedule,
        **typed,
    }
    changed = {key: value for key, value in keys.items() if value != before[key]}
    return FurtherTraining(changed | length, with_optimizer, rate)


def _end(complete: ConfigDict, step: int, num_images: int) -> _End:
    milestones = make_milestones(complete, num_images)
    schedule = create_schedule(**schedule_options(complete, milestones))
    factor = float(schedule(step)) / schedule.peak_lr if schedule.peak_lr else 1.0
    ended = factor < _ENDED and schedule.name != "piecewise"
    base_lr = 0.0 if ended else complete.schedule.base_lr * factor
    return _End(step, milestones, base_lr, warming_up=step < schedule.warmup_steps)


def _length(complete: ConfigDict, end: _End, typed: dict[str, Any]) -> dict[str, Any]:
    """Returns the length of the new run, {'train.epochs': ...} or {'train.total_steps': ...}.

    If the user asks for more epochs or steps than the previous run has done, the new run does the remaining ones. If
    the user asks for fewer, the new run does as many. If the user sets no length, the new run is as long as the
    previous one.
    """
    total_steps = typed.get("train.total_steps", complete.train.total_steps)
    if total_steps is not None:
        longer = "train.total_steps" in typed and total_steps > end.step
        return {"train.total_steps": total_steps - end.step if longer else total_steps}
    epochs = typed.get("train.epochs") or complete.train.epochs
    finished = end.step >= end.milestones.schedule_steps
    done = complete.train.epochs if finished else end.step / end.milestones.steps_per_epoch
    return {"train.epochs": round(epochs - done, 2) if "train.epochs" in typed and epochs > done else epochs}


def _schedule(
    complete: ConfigDict, end: _End, typed: dict[str, Any], length: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Returns the config values of the new run's schedule by dotted key, and its first learning rate in words."""
    if end.warming_up or "optimizer.name" in typed:  # another optimizer needs other learning rates
        return {}, "as in the config"
    name = complete.schedule.name
    if name == "piecewise":  # the boundaries of a piecewise schedule count epochs of the previous run
        name = "constant" if end.base_lr else "cosine"
    chosen = typed.get("schedule.base_lr")
    base_lr = float(f"{end.base_lr or _NEW_PEAK * complete.schedule.base_lr:.3g}") if chosen is None else chosen
    rises = base_lr > 1.01 * end.base_lr
    keys = {
        "schedule.name": name,
        "schedule.base_lr": base_lr,
        "schedule.warmup_epochs": _warmup_epochs(end, length) if rises else 0.0,
        "schedule.decay_epochs": None,
        "schedule.images_per_epoch": None,
    }
    if chosen is not None:
        return keys, "as given, after a warm-up" if rises else "as given"
    if rises:
        return keys, "a tenth of the earlier peak, after a warm-up, because its decay had ended"
    return keys, "the last one of that run"


def _warmup_epochs(end: _End, length: dict[str, Any]) -> float:
    steps = length.get("train.total_steps")
    epochs = length["train.epochs"] if steps is None else steps / end.milestones.steps_per_epoch
    return float(f"{min(1.0, _WARMUP * epochs):.3g}")
