"""Times our training step, a Flax-style one and PyTorch's on the same device in one run.

    python benchmarks/side_by_side.py --batch-sizes 128 256 512 1024 --json FILE                            (a GPU)
    python benchmarks/side_by_side.py --depth 18 --image-size 32 --batch-sizes 16 --dtype float32 --no-compile (a CPU)

Each trainer runs in its own long-lived process. They are timed in turn, one window of steps at a time, so that other
load on the machine affects all of them alike and only one is active at a time. The input is a few batches of random
uint8 images that are on the device already. The table shows medians over the windows; "ours is" is the median of the
ratios within a round. A trainer that is not installed, or runs out of memory next to the others, is listed as left out;
in the latter case measure it alone at that batch size with --trainers. PyTorch's network is timm's or torchvision's,
whichever is installed.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python benchmarks/FILE.py`

from benchmarks.table import markdown  # noqa: E402
from benchmarks.trainers import TRAINERS, Task  # noqa: E402


class StepProcess:
    """A trainer in its own process; a context manager that kills the process on exit."""

    def __init__(self, trainer: str, task: Task, deadline: float | None = None):
        """Starts the process and waits until it is ready; after `deadline` seconds it is killed."""
        request = json.dumps({"trainer": trainer, "task": dataclasses.asdict(task)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.step_process", request],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.what, self.error = "", ""
        self._timer = None if deadline is None else threading.Timer(max(deadline, 0.0), self._process.kill)
        if self._timer:
            self._timer.start()
        self._take(self._read())

    def __enter__(self) -> "StepProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._process.kill()
        self._process.communicate()

    def seconds(self, steps: int) -> float | None:
        """Runs `steps` steps and returns their time. None: the process failed, see `error`."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # the process has ended: `_read` reports it
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        return self._take(self._read())

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process ended with status {self._process.wait()}"}

    def _take(self, message: dict[str, Any]) -> float | None:
        self.what, self.error = message.get("what", self.what), message.get("error", "")
        return message.get("seconds")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a table per batch size, and writes the JSON file."""
    options = _parse(argv)
    record: dict[str, Any] = {**describe(), "windows": options.windows, "warmup_steps": options.warmup, "results": []}
    for batch_size in options.batch_sizes:
        task = Task(
            options.depth, batch_size, options.image_size, options.classes, options.dtype, not options.no_compile
        )
        result = compare(options.trainers, task, windows=options.windows, steps=options.steps, warmup=options.warmup)
        record["results"].append(result)
        record["best"] = best_of(record["results"])
        print(f"\nbatch {batch_size}", table(result), sep="\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(record, indent=1) + "\n")
    best = best_of(record["results"])
    print(
        "", *(f"best {name:6} {rate:10,.1f} images/s at batch {size}" for name, (rate, size) in best.items()), sep="\n"
    )


def compare(
    trainers: Sequence[str], task: Task, *, windows: int, steps: int, warmup: int, deadline: float | None = None
) -> dict[str, Any]:
    """Times the trainers in turn on one task; returns the times of each, and who was left out and why.

    Args:
      trainers: names from `TRAINERS`.
      task: network and batch.
      windows: timed windows of each trainer.
      steps: steps in a window.
      warmup: steps before the first window.
      deadline: seconds after which the trainers that still run are killed and left out; None: no limit.
    """
    end = None if deadline is None else time.monotonic() + deadline
    processes: dict[str, StepProcess] = {}
    rounds: dict[str, Any] = {}
    left_out: dict[str, str | None] = {}
    try:
        for name in trainers:
            process = processes[name] = StepProcess(name, task, None if end is None else end - time.monotonic())
            if process.error or process.seconds(warmup) is None:
                left_out[name] = process.error
            else:
                rounds[name] = []
        for _ in range(windows):
            for name in list(rounds):
                seconds = processes[name].seconds(steps)
                if seconds is None:
                    left_out[name] = processes[name].error
                    del rounds[name]
                else:
                    rounds[name].append(seconds)
    finally:
        for process in processes.values():
            process.__exit__()
    what = {name: process.what for name, process in processes.items()}
    return {"task": dataclasses.asdict(task), "steps": steps, "what": what, "seconds": rounds, "left_out": left_out}


def table(result: Mapping[str, Any]) -> str:
    """Formats the results of one task as a Markdown table; ratios refer to our trainer."""
    rounds, images = result["seconds"], result["steps"] * result["task"]["batch_size"]
    lines = [("step", "images/s", "min - max", "ours is", "what")]
    reference = rounds.get("ours")
    for name, seconds in rounds.items():
        rates = [images / window for window in seconds]
        ratio = statistics.median(s / r for s, r in zip(seconds, reference, strict=True)) if reference else None
        span = f"{min(rates):,.1f} - {max(rates):,.1f}"
        cells = (name, f"{statistics.median(rates):,.1f}", span, f"{ratio:.2f} x" if ratio else "")
        lines.append((*cells, result["what"][name]))
    lines += [(name, "left out", why, "", "") for name, why in result["left_out"].items()]
    return markdown(lines)


def best_of(results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """Returns the highest median rate of each trainer in images/s, and the batch size at which it has it."""
    best: dict[str, tuple[float, int]] = {}
    for result in results:
        size = result["task"]["batch_size"]
        for name, seconds in result["seconds"].items():
            rate = result["steps"] * size / statistics.median(seconds)
            best[name] = max(best.get(name, (0.0, 0)), (rate, size))
    return best


def describe() -> dict[str, Any]:
    """Returns machine, device, commit and command as JSON values."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": _gpu(),
        "commit": done.stdout.strip(),
        "command": sys.argv,
    }


def _gpu() -> str:
    """Returns name and driver of the GPU, or 'cpu' without one."""
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "cpu"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128], metavar="N")
    parser.add_argument("--depth", type=int, choices=(18, 50, 101), default=50)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--no-compile", action="store_true", help="PyTorch without torch.compile")
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="steps per window")
    parser.add_argument("--warmup", type=int, default=10, help="steps before the first window")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
