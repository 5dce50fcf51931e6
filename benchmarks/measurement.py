"""Measures one input pipeline in its own process, so that no other import or thread adds to its cost.

`input_pipeline.py` runs `python -m benchmarks.measurement REQUEST`, where REQUEST is JSON with the fields of
`Contender` and `Settings`. The process prints the fields of `Measurement` as a line of JSON.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pipelines import Contender, load
from resnet_jax.analysis.process_tree import ProcessTree
from resnet_jax.errors import UsageError

NOT_INSTALLED = 3  # exit status if a package is missing


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all pipelines have to produce, and with which resources."""

    folder: str  # path of the folder with the files train/<class>/*
    batch_size: int
    image_size: int
    cores: int  # number of threads or processes that a pipeline may use
    warmup_batches: int
    batches: int


class Measurement(NamedTuple):
    """Time and memory of a window of batches."""

    version: str
    images: int
    seconds: float
    cpu_seconds: float  # user and system time of the process and all its descendants
    start_rss: int  # bytes, RSS of these processes at the start of the window; shared memory counts in each process
    peak_rss: int  # bytes, maximum of that RSS over the batches of the window


def measure(contender: Contender, settings: Settings) -> Measurement:
    """Warms up, then measures a window of batches.

    Raises:
      ImportError: a package that the pipeline needs is not installed.
      UsageError: wrong config keys for our pipeline, or a window shorter than a tick of the CPU clock.
    """
    pipeline = load(contender)
    batches = pipeline.batches(
        folder=Path(settings.folder),
        batch_size=settings.batch_size,
        image_size=settings.image_size,
        cores=settings.cores,
        **contender.options,
    )
    with contextlib.closing(batches):
        for _ in range(settings.warmup_batches):
            next(batches)
        return Measurement(pipeline.version(), **_window(batches, settings.batches))


def _window(batches: Iterator[int], count: int) -> dict[str, Any]:
    """Takes `count` batches; returns the fields of `Measurement` except the version."""
    tree = ProcessTree()
    cpu_seconds, start = tree.cpu_seconds(), time.perf_counter()
    start_rss = peak_rss = tree.rss()
    images = 0
    for _ in range(count):
        images += next(batches)
        peak_rss = max(peak_rss, tree.rss())
    seconds = time.perf_counter() - start
    cpu_seconds = tree.cpu_seconds() - cpu_seconds
    if cpu_seconds <= 0:
        raise UsageError(f"{images} images are too few for the CPU clock: make the window longer with --batches")
    return {
        "images": images,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "start_rss": start_rss,
        "peak_rss": peak_rss,
    }


def main(request: dict[str, Any]) -> None:
    """Measures and prints the result as JSON; exits with a status on errors."""
    try:
        result = measure(Contender(**request["contender"]), Settings(**request["settings"]))
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    print(json.dumps(result._asdict()), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
