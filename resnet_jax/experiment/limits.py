"""What numbers a config may hold."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from resnet_jax.errors import UsageError

# In words, the keys, the test. None, where a key allows it, passes.
_LIMITS: list[tuple[str, str, Callable[[Any], bool]]] = [
    (
        "at least 1",
        "data.batch_size data.image_size data.repeats data.augment.num_ops data.enlarge_to data.synthetic.image_height "
        "data.synthetic.image_width data.synthetic.num_train data.synthetic.num_eval data.synthetic.num_classes "
        "model.features model.num_classes model.bn_group_size loss.scale_growth_steps "
        "schedule.base_batch_size ema.every_steps train.total_steps train.max_steps train.accumulate "
        "train.per_device_limit train.profile_steps eval.every_steps eval.batch_size eval.image_size "
        "checkpoint.every_steps checkpoint.keep_latest log.every_steps predict.top_k predict.batch_size "
        "benchmark.windows benchmark.window_steps",
        lambda value: value >= 1,
    ),
    (
        "at least 0",
        "data.num_threads data.num_workers data.max_bad_examples data.label_offset data.train_crop.padding "
        "data.eval_crop.padding data.augment.magnitude_std mixing.mixup_alpha mixing.cutmix_alpha optimizer.trust "
        "optimizer.weight_decay schedule.base_lr schedule.warmup_epochs schedule.decay_epochs train.profile_at "
        "checkpoint.keep_best benchmark.warmup_steps",
        lambda value: value >= 0,
    ),
    ("at least 0, below 2^32", "seed", lambda value: 0 <= value < 2**32),
    (
        "above 0",
        "train.epochs eval.every_epochs model.bn_epsilon optimizer.epsilon optimizer.clip_norm schedule.power",
        lambda value: value > 0,
    ),
    (
        "at least 0, at most 1",
        "data.train_crop.min_object_covered data.augment.probability input.erasing.probability mixing.probability "
        "mixing.cutmix_share model.squeeze_excitation schedule.warmup_start schedule.end "
        "eval.stop_at",
        lambda value: 0 <= value <= 1,
    ),
    (
        "at least 0, below 1",
        "loss.label_smoothing loss.target_threshold optimizer.momentum optimizer.beta1 optimizer.beta2 "
        "model.bn_momentum model.stochastic_depth ema.decay",
        lambda value: 0 <= value < 1,
    ),
    ("above 0, at most 2^24", "loss.scale", lambda value: 0 < value <= 2**24),
    ("at least 0, at most 10", "data.augment.magnitude", lambda value: 0 <= value <= 10),
    (
        "two numbers, 0 < low <= high <= 1",
        "data.train_crop.area input.erasing.area",
        lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= 1,
    ),
    (
        "two numbers, 0 < low <= high",
        "data.train_crop.aspect input.erasing.aspect",
        lambda v: len(v) == 2 and 0 < v[0] <= v[1],
    ),
    ("three numbers", "input.mean", lambda v: len(v) == 3),
    ("three numbers above 0", "input.std", lambda v: len(v) == 3 and min(v) > 0),
    (
        "whole numbers of at least 1 pixel",
        "data.progressive.sizes",
        lambda v: all(isinstance(size, int) and size >= 1 for size in v),
    ),
    (
        "increasing numbers above 0",
        "data.progressive.until_epochs schedule.boundaries",
        lambda v: all(0 <= a < b for a, b in zip((0, *v), v, strict=False)),
    ),
    ("numbers of at least 0", "schedule.factors", lambda v: all(factor >= 0 for factor in v)),
]


def check_limits(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for numbers, by dotted key, that can mean nothing. None, where allowed, passes."""
    for wanted, keys, holds in _LIMITS:
        for key in keys.split():
            value = settings[key]
            if value is not None and not (_finite(value) and holds(value)):
                raise UsageError(f"config.{key}={value!r} is out of range: it must be {wanted}")


def _finite(value: Any) -> bool:
    """Whether a number, or every element of a sequence, is a finite number."""
    values = value if isinstance(value, tuple | list) else [value]
    return all(isinstance(number, int | float) and math.isfinite(number) for number in values)
