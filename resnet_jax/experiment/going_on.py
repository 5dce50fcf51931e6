"""The config of a new run that goes on where another run has ended: with more epochs, or with other keys."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from resnet_jax.experiment.computed import with_computed
from resnet_jax.experiment.milestones import Milestones, make_milestones, schedule_options
from resnet_jax.nested import flatten
from resnet_jax.training.schedules import create_schedule
from resnet_jax.training.trainable import trainable_pattern
from resnet_jax.weights.compatibility import NETWORK_KEYS

# With another value of one of these the new run has another network or other data: it does not go on.
_ANOTHER_TASK = (*NETWORK_KEYS, "model.num_classes", "model.init_from", "data.source", "data.name")

# A smooth decay below this fraction of the peak has ended: the run would hardly learn at its last rate. The new run
# then warms up to a tenth of the peak, a usual rate for fine-tuning, and decays again.
_ENDED, _NEW_PEAK = 0.01, 0.1
_WARMUP = 0.1  # length of that warm-up / length of the run; at most one epoch


class GoingOn(NamedTuple):
    """How a new run goes on from the end of another one."""

    # The config keys of the new run, by dotted name, that differ from those of the other run; and its length, because
    # users often change that next.
    keys: dict[str, Any]
    with_optimizer: bool  # whether it begins with the optimizer state too
    rate: str  # what its learning rate is at the beginning, for a message


class _End(NamedTuple):
    """The state of a run at its last checkpoint."""

    step: int
    milestones: Milestones
    base_lr: float  # the `schedule.base_lr` with which a constant schedule has the last rate; 0: the decay has ended
    warming_up: bool


def go_on(stored: ConfigDict, wanted: ConfigDict, *, run: str, step: int, num_images: int) -> GoingOn | None:
    """Returns how a run with the keys of `wanted` goes on from the last state of another run; None: it cannot.

    The new run has its own steps, so its learning rate is a new schedule. It begins at the last rate of the other run
    and decays from there in the same way ('piecewise': stays constant). If the other schedule has ended, it warms up to
    a tenth of the other peak first. Its seed is another one, so that it does not repeat the order and the crops.

    Args:
      stored: config of the run that has ended.
      wanted: config that was asked for; `train.epochs` or `train.total_steps` count from the beginning of that run if
        they are more than it has done.
      run: path of its work directory.
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
    return GoingOn(changed | length, with_optimizer, rate)


def _end(complete: ConfigDict, step: int, num_images: int) -> _End:
    milestones = make_milestones(complete, num_images)
    schedule = create_schedule(**schedule_options(complete, milestones))
    factor = float(schedule(step)) / schedule.peak_lr if schedule.peak_lr else 1.0
    ended = factor < _ENDED and schedule.name != "piecewise"
    base_lr = 0.0 if ended else complete.schedule.base_lr * factor
    return _End(step, milestones, base_lr, warming_up=step < schedule.warmup_steps)


def _length(complete: ConfigDict, end: _End, typed: dict[str, Any]) -> dict[str, Any]:
    """Returns the key for the length of the new run: what is left of the wanted length, or else all of it."""
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
    """Returns the keys of the schedule of the new run, and what its learning rate is at the beginning."""
    if end.warming_up or "optimizer.name" in typed:  # the rates of another optimizer are of another size
        return {}, "as in the config"
    name = complete.schedule.name
    if name == "piecewise":  # its boundaries are epochs of the other run
        name = "constant" if end.base_lr else "cosine"
    chosen = typed.get("schedule.base_lr")
    base_lr = float(f"{end.base_lr or _NEW_PEAK * complete.schedule.base_lr:.3g}") if chosen is None else chosen
    rises = base_lr > 1.01 * end.base_lr
    keys = {
        "schedule.name": name,
        "schedule.base_lr": base_lr,
        "schedule.warmup_epochs": _warmup_epochs(end, length) if rises else 0.0,
        "schedule.decay_epochs": None,
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
