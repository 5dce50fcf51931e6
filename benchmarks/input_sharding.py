"""Measures how the processes of a run divide the input, and how fast the loader starts at a late step.

    python benchmarks/input_sharding.py [--processes N ...] [--source SOURCE --data_dir DIR] [--json FILE]

First, 1, 2 and 4 new processes, each in the role of a host, make the same global batches. Recorded are the examples
that each process reads and decodes, and its CPU time. The processes run one after the other, with one thread, so that
they do not slow each other down. Each makes all batches twice; the second time is measured, with the files in the page
cache.

Second, a new process opens the source, makes the loader of one host and waits for the first batch of a step. Imports
are not counted; the files of that batch are in the page cache.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import numpy as np

from benchmarks.table import markdown
from resnet_jax.configs import resnet50
from resnet_jax.data.feed import host_batches
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import Example, Source
from resnet_jax.experiment.inputs import make_train_loader, open_from
from resnet_jax.experiment.milestones import make_milestones

ROOT = Path(__file__).resolve().parent.parent
_SHARE_HEADER = ("processes", "images of each", "each image once", "CPU-s of each", "CPU-s of all")
_START_HEADER = ("step", "loader made (s)", "first batch (s)", "together (s)")


class RecordingSource:
    """A source that records the indices of the examples read."""

    def __init__(self, source: Source):
        self._source = source
        self.name, self.class_names, self.where = source.name, source.class_names, source.where
        self.indices: list[int] = []

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        self.indices.append(index)
        return self._source[index]


def main() -> None:
    """Measures, prints the tables and writes the JSON file; with --measure, runs as one of the measured processes."""
    options = _parse()
    if options.measure:
        print(json.dumps(_MEASURES[options.measure](options)))
        return
    steps = range(options.step, options.step + options.batches)
    whole = Counter(_indices(make_loader(options), steps))
    print(f"{options.batches} batches of {options.batch_size:,} from step {options.step:,}\n")
    shares = {
        count: [_run("share", options, index, count, options.step) for index in range(count)]
        for count in options.processes
    }
    print(markdown([_SHARE_HEADER, *(_share_row(count, own, whole) for count, own in shares.items())]), flush=True)
    count, repeats = max(options.processes), options.repeats
    print(f"\nfrom start to a batch of {options.batch_size // count:,} images; median and maximum of {repeats}\n")
    starts = {step: [_run("start", options, 0, count, step) for _ in range(repeats)] for step in (0, options.step)}
    print(markdown([_START_HEADER, *itertools.starmap(_start_row, starts.items())]))
    if options.json:
        record = {"command": sys.argv, "shares": shares, "starts": starts}
        options.json.write_text(json.dumps(record) + "\n")


def make_loader(options: argparse.Namespace, wrap: Callable[[Source], Source] = lambda source: source) -> Loader:
    """Opens the source, applies `wrap` to it, and returns the loader of process `options.index`."""
    config = resnet50.get_config()
    changes = {"source": options.source, "data_dir": options.data_dir, "batch_size": options.batch_size}
    config.update_from_flattened_dict({f"data.{key}": value for key, value in changes.items()})
    source = open_from(config, training=True, cache_dir=None)
    loader = make_train_loader(config, wrap(source), make_milestones(config, len(source)))
    return dataclasses.replace(loader, process_index=options.index, process_count=options.count)


def share(options: argparse.Namespace) -> dict[str, Any]:
    """Makes the batches from `options.step` on; returns the indices that the process reads, and its CPU seconds."""
    recorded: list[RecordingSource] = []

    def wrap(source: Source) -> Source:
        recorded.append(RecordingSource(source))
        return recorded[0]

    loader = make_loader(options, wrap)
    for _ in range(2):
        recorded[0].indices.clear()
        before = time.process_time()
        for _ in host_batches(
            loader, start=options.step, stop=options.step + options.batches, num_threads=1, num_workers=0
        ):
            pass
        cpu_seconds = time.process_time() - before
    return {"indices": recorded[0].indices, "cpu_seconds": cpu_seconds}


def start(options: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that it takes to make the loader, and then to get the batch of a step."""
    # Loads the files into the page cache, and imports modules that are imported lazily.
    make_loader(options).batch(options.step)
    begin = time.perf_counter()
    loader = make_loader(options)
    made = time.perf_counter()
    batches = host_batches(loader, start=options.step, stop=options.step + 1, num_threads=1, num_workers=0)
    next(batches)
    return {"made": made - begin, "first_batch": time.perf_counter() - made}


_MEASURES = {"share": share, "start": start}


def _run(measure: str, options: argparse.Namespace, index: int, count: int, step: int) -> dict[str, Any]:
    """Measures in a new process with the role of process `index` of `count`."""
    flags = {**vars(options), "measure": measure, "index": index, "count": count, "step": step}
    names = ("measure", "index", "count", "step", "batches", "batch_size", "source", "data_dir")
    command = [sys.executable, __file__, *(f"--{name}={flags[name]}" for name in names if flags[name] is not None)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _indices(loader: Loader, steps: Iterable[int]) -> list[int]:
    """Returns the indices of the examples of the global batches."""
    return np.concatenate([loader.order.rows(step).indices for step in steps]).tolist()


def _share_row(count: int, shares: Sequence[dict[str, Any]], whole: Counter) -> tuple[str, ...]:
    read = [len(one["indices"]) for one in shares]
    once = Counter(itertools.chain.from_iterable(one["indices"] for one in shares)) == whole
    seconds = [one["cpu_seconds"] for one in shares]
    low, high = min(seconds), max(seconds)
    return (
        str(count),
        " ".join(f"{images:,}" for images in read),
        "yes" if once else "NO",
        f"{low:.2f}" if count == 1 else f"{low:.2f} - {high:.2f}",
        f"{sum(seconds):.2f}",
    )


def _start_row(step: int, rounds: Sequence[dict[str, float]]) -> tuple[str, ...]:
    columns = [[one[interval] for one in rounds] for interval in ("made", "first_batch")]
    columns.append([sum(one.values()) for one in rounds])
    return (f"{step:,}", *(f"{statistics.median(column):.3f}, {max(column):.3f}" for column in columns))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--processes", type=int, nargs="+", default=[1, 2, 4], help="numbers of hosts (%(default)s)")
    add("--batches", type=int, default=4, help="number of batches (%(default)s)")
    add("--batch_size", type=int, default=256, help="global batch size (%(default)s)")
    add("--step", type=int, default=1_000_000, help="step of the first batch and of the late start (%(default)s)")
    add("--repeats", type=int, default=5, help="number of measured starts per step (%(default)s)")
    add("--source", default="synthetic_jpeg", help="config key data.source (%(default)s)")
    add("--data_dir", help="config key data.data_dir")
    add("--json", type=Path, metavar="FILE", help="file for all measurements")
    add("--measure", choices=_MEASURES, help=argparse.SUPPRESS)
    add("--index", type=int, default=0, help=argparse.SUPPRESS)
    add("--count", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
