"""What a config asks `--mode=benchmark` for."""

from typing import NamedTuple

from ml_collections import ConfigDict

from resnet_jax.errors import UsageError
from resnet_jax.experiment.limits import check_limits
from resnet_jax.nested import flatten

_PARTS = ("first_step", "step", "loader", "together")


class BenchmarkRequest(NamedTuple):
    """What is measured, and how often."""

    parts: tuple[str, ...]  # of `_PARTS`
    windows: int
    window_steps: int
    warmup_steps: int
    json: str | None  # file for the record


def benchmark_requested(config: ConfigDict) -> BenchmarkRequest:
    """Reads the section. Raises UsageError for a value out of range or an unknown part."""
    check_limits(flatten(config.to_dict()))
    parts = tuple(config.benchmark.parts)
    unknown = [part for part in parts if part not in _PARTS]
    if unknown or not parts:
        wrong = f"{unknown[0]!r} is not one" if unknown else "it is empty"
        raise UsageError(f"config.benchmark.parts={parts}: {wrong}; name some of {', '.join(_PARTS)}")
    return BenchmarkRequest(**{**config.benchmark, "parts": parts})
