"""Lists the operations with the most device time in a trace recorded by `--config.train.profile_at=STEP`.

    python benchmarks/top_operations.py WORKDIR [--count 10]

Reads the newest trace of the work directory. The time of an operation excludes operations nested in it; it is summed
over all devices of this host and divided by the number of traced steps.
"""

import argparse
import collections
import gzip
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

from benchmarks.table import markdown
from resnet_jax.errors import UsageError
from resnet_jax.programs.command_line import fail

_WRAPPER = "ThunkExecutor::"  # prefix of CPU events that wrap operations


class Event(NamedTuple):
    """An event on a device, times in microseconds."""

    start: float
    duration: float
    name: str


class Operation(NamedTuple):
    """The time of all operations of one name."""

    name: str
    milliseconds: float  # per step, without nested operations
    share: float  # of the time of all operations
    calls: float  # per step


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    options = _parse(argv)
    try:
        timelines = device_timelines(read_trace(options.workdir))
        steps = traced_steps(options.workdir)
    except UsageError as error:
        fail(str(error))
    print(table(timelines, steps=steps, count=options.count))
    print(f"\nidle {idle_share(timelines):.1%} of the traced time, {len(timelines)} timelines, {steps} steps")


def read_trace(workdir: Path) -> list[dict[str, Any]]:
    """Returns the events of the newest trace. Raises UsageError if there is none."""
    files = sorted(workdir.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise UsageError(
            f"there is no trace below {workdir / 'plugins' / 'profile'}: run with --config.train.profile_at=STEP"
        )
    with gzip.open(files[-1], "rt") as file:
        return json.load(file)["traceEvents"]


def traced_steps(workdir: Path) -> int:
    """Returns the number of traced steps, from the config of the run. Raises UsageError if it cannot be read."""
    path = workdir / "config.json"
    try:
        return json.loads(path.read_text())["train"]["profile_steps"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path} cannot be read ({error}): name the work directory of the run") from None


def device_timelines(events: list[dict[str, Any]]) -> list[list[Event]]:
    """Returns the events of each device thread, sorted by start time.

    Operations of a TPU are in its thread 'XLA Ops', those of a GPU in one thread per stream, those of a CPU in the
    threads of XLA.

    Raises:
      UsageError: the trace has no operation of a device.
    """
    described = [event for event in events if event.get("ph") == "M" and "name" in event["args"]]
    names = {(event["name"], event["pid"], event.get("tid")): event["args"]["name"] for event in described}
    found: dict[tuple[int, int], list[Event]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") != "X":
            continue
        process = names.get(("process_name", event["pid"], None), "")
        thread = names.get(("thread_name", event["pid"], event["tid"]), "")
        if _is_of_device(process, thread) and not event["name"].startswith(_WRAPPER):
            found[event["pid"], event["tid"]].append(Event(event["ts"], event.get("dur", 0.0), event["name"]))
    if not found:
        raise UsageError("there is no operation of a device in the trace: take a later train.profile_at, or more steps")
    # Nested events come after the enclosing one, also if both start at the same time.
    return [sorted(timeline, key=lambda event: (event.start, -event.duration)) for timeline in found.values()]


def own_times(timeline: list[Event]) -> Iterator[tuple[str, float]]:
    """Yields the name of each event and its duration without that of nested events."""
    open_events: list[tuple[float, str, float]] = []  # end, name, duration without nested events
    for event in timeline:
        while open_events and open_events[-1][0] <= event.start:
            _, name, own = open_events.pop()
            yield name, own
        if open_events:
            end, name, own = open_events.pop()
            open_events.append((end, name, own - event.duration))
        open_events.append((event.start + event.duration, event.name, event.duration))
    yield from ((name, own) for _, name, own in open_events)


def most_time(timelines: list[list[Event]], *, steps: int, count: int) -> list[Operation]:
    """Returns the `count` operations with the most time, the longest first."""
    spent: collections.defaultdict[str, float] = collections.defaultdict(float)  # microseconds
    calls: collections.Counter[str] = collections.Counter()
    for timeline in timelines:
        for name, own in own_times(timeline):
            spent[name] += own
            calls[name] += 1
    total = sum(spent.values())
    longest = sorted(spent.items(), key=lambda item: item[1], reverse=True)[:count]
    return [Operation(name, time / 1000 / steps, time / total, calls[name] / steps) for name, time in longest]


def table(timelines: list[list[Event]], *, steps: int, count: int) -> str:
    """Formats the `count` operations with the most time as a Markdown table."""
    lines = [("operation", "ms per step", "share", "calls per step")]
    for name, milliseconds, share, calls in most_time(timelines, steps=steps, count=count):
        lines.append((name[:80], f"{milliseconds:.3f}", f"{share:.1%}", f"{calls:.1f}"))
    return markdown(lines)


def idle_share(timelines: list[list[Event]]) -> float:
    """Returns the share of the time between the first and the last event in which no timeline has an event."""
    events = sorted(event for timeline in timelines for event in timeline)
    begin = free = events[0].start
    idle = 0.0
    for event in events:
        idle += max(0.0, event.start - free)
        free = max(free, event.start + event.duration)
    return idle / (free - begin)


def _is_of_device(process: str, thread: str) -> bool:
    if process.startswith("/device:TPU"):
        return thread == "XLA Ops"
    if process.startswith("/device:"):
        return thread.startswith("Stream")
    return bool(re.match("tf_XLA(Eigen|PjRt)", thread))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--count", type=int, default=10, help="number of operations (%(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
