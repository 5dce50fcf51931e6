"""One measurement of one pipeline, in a process of its own: nothing else that is imported or started costs anything.

`input_pipeline.py` runs `python -m benchmarks.measurement SETTINGS` with the fields of `Settings` as JSON; the answer
is a line of JSON with the fields of `Measurement`.
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

NOT_INSTALLED = 3  # exit status


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all contenders are asked for."""

    folder: str  # with the files in train/<class>/
    batch_size: int
    image_size: int
    cores: int  # threads or processes that a pipeline may use
    warmup_batches: int
    batches: int


class Measurement(NamedTuple):
    """What a window of batches cost."""

    version: str
    images: int
    seconds: float
    cpu_seconds: float  # user and system, of the process and of all its descendants
    start_rss: int  # bytes, of the same processes, when the window began; memory that they share counts in each
    peak_rss: int  # the most of it after any batch of the window


def measure(contender: Contender, settings: Settings) -> Measurement:
    """Warms up, then takes batches as fast as they come.

    Raises:
      ImportError: what the pipeline needs is not installed.
      UsageError: the options of ours are wrong, or the window is shorter than a tick of the CPU clock.
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
    """Takes `count` batches; returns the rest of the fields of `Measurement`."""
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
    """Measures and prints."""
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
