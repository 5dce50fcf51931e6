"""Measures everything that a GPU is needed for in one command of at most eight minutes, into one JSON file.

    python benchmarks/on_a_gpu.py --json on_a_gpu.json

On a CPU it runs at a small size: --depth 18 --image-size 32 --batch-sizes 8 --dtype float32 --no-compile --steps 4.

Parts, in the order of their worth; `--parts` selects some:

* repeat: our step runs 20 times in two processes, and the final states are compared bit by bit; the ten operations
  with the most time, the implementation of each matrix product, kernels and bytes of the program as autotuned here
* side_by_side: our step, Flax's example and PyTorch at the first batch size (`side_by_side.py`)
* benchmark: --mode=benchmark of the step, of decoding JPEG images, and of both together
* without: our step with one optimization switched off at a time (`switches.py`), next to the step with all
* other_sizes: side_by_side at the other batch sizes
* plan: what --mode=plan predicts for this kind of GPU; runs on the CPU beside the other parts, and needs the extra
  `gpu-plan`, which the extras `cuda12` and `cuda13` contain

The file is written after each part. A part that does not fit into the time is listed in `left_out`; the same command
again measures only what the file does not have. Programs compile one after the other, because autotuning times kernels;
its choices are kept for the other parts, so that the variants of our step differ in nothing else.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `python benchmarks/FILE.py`

from benchmarks.side_by_side import StepProcess, compare, describe  # noqa: E402
from benchmarks.switches import SWITCHES  # noqa: E402
from benchmarks.trainers import TRAINERS, Task  # noqa: E402
from resnet_jax.analysis.gpu_topology import gpu_of_kind  # noqa: E402

_TRACED_STEPS = 5
_NO_TIME = "no time left: run the same command again"


class _LeftOutError(Exception):
    """A measurement is left out; the message says why."""


class Report:
    """The results so far, in a JSON file that is written after each."""

    def __init__(self, path: Path, about: dict[str, Any], seconds: float):
        self._path, self._end = path, time.monotonic() + seconds
        earlier = json.loads(path.read_text()) if path.exists() else {}
        self.results: dict[str, Any] = earlier.get("results", {})
        self._about, self._left_out = about, dict[str, str]()
        self._lock = threading.Lock()  # the plan is made in a thread of its own

    @property
    def seconds_left(self) -> float:
        """Seconds until the command should have ended."""
        return self._end - time.monotonic()

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Adds the result of `work` under `name`; does nothing if the file has it already."""
        if name in self.results:
            return
        start = time.monotonic()
        try:
            self.check_time()
            self._add(name, {"result": work(), "seconds": time.monotonic() - start})
        except _LeftOutError as error:
            self._add(name, left_out=str(error))
        except subprocess.TimeoutExpired:
            self._add(name, left_out=_NO_TIME)
        except subprocess.CalledProcessError as error:
            self._add(name, left_out=(error.stderr or "").strip()[-2000:])

    def check_time(self) -> None:
        """Raises _LeftOutError if the time of the command is over."""
        if self.seconds_left <= 0:
            raise _LeftOutError(_NO_TIME)

    def _add(self, name: str, found: dict[str, Any] | None = None, *, left_out: str = "") -> None:
        with self._lock:
            if found is None:
                self._left_out[name] = left_out
                print(f"{name:28} left out: {(left_out.splitlines() or ['it failed'])[-1]}", flush=True)
            else:
                self.results[name] = found
                print(f"{name:28} {found['seconds']:6.0f} s", flush=True)
            record = {"about": self._about, "results": self.results, "left_out": self._left_out}
            self._path.write_text(json.dumps(record, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the parts in turn until the time is over."""
    options = _parse(argv)
    report = Report(options.json, describe(), 60 * options.minutes)
    with tempfile.TemporaryDirectory(prefix="on_a_gpu-") as scratch:
        _prepare_processes(Path(scratch))
        parts = Parts(report, options, Path(scratch))
        plan = threading.Thread(target=parts.plan)
        if "plan" in options.parts:
            plan.start()
        for name in (name for name in options.parts if name != "plan"):
            getattr(parts, name)()
        if "plan" in options.parts:
            plan.join()
    print(summary(report.results))


def _prepare_processes(scratch: Path) -> None:
    """Sets for all processes: use one GPU; keep compiled programs and the choices of autotuning in `scratch`."""
    choices = scratch / "autotuning"
    choices.mkdir()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(scratch / "programs"))
    flags = (os.environ.get("XLA_FLAGS", ""), f"--xla_gpu_per_fusion_autotune_cache_dir={choices}")
    os.environ["XLA_FLAGS"] = " ".join(filter(None, flags))


def summary(results: dict[str, Any]) -> str:
    """Returns the main figures as lines of text."""
    lines = []
    first, second = (results.get(f"repeat {number}", {}).get("result") for number in (1, 2))
    if first and second:
        equal = "equal bit by bit" if first["digest"] == second["digest"] else "NOT equal"
        lines.append(f"two runs of {first['steps']} steps are {equal}")
    planned = results.get("plan", {}).get("result")
    if first and planned:
        real, kernels = first["program"], first["program"]["kernels"]
        lines.append(
            f"bytes {real['bytes'] / 1e9:.2f} GB, planned {planned['per_device']['hbm_bytes'] / 1e9:.2f}; "
            f"kernels {kernels:,}, planned {planned['kernels'] or 0:,}"
        )
    for name, found in results.items():
        if name.startswith("side_by_side"):
            lines += [f"{name}: {trainer} {rate:,.1f} images/s" for trainer, rate in rates(found["result"]).items()]
        if name.startswith("without"):
            lines.append(f"{name}: {found['result']['slower']:.3f} times the time of the step")
    return "\n".join(lines)


def rates(result: dict[str, Any]) -> dict[str, float]:
    """Returns the median images per second of each trainer of `side_by_side.compare`."""
    images = result["steps"] * result["task"]["batch_size"]
    return {name: images / statistics.median(seconds) for name, seconds in result["seconds"].items()}


class Parts:
    """The parts of the command, by name in the order of their worth."""

    names = ("repeat", "side_by_side", "benchmark", "without", "other_sizes", "plan")

    def __init__(self, report: Report, options: argparse.Namespace, scratch: Path):
        self._report, self._options, self._scratch = report, options, scratch
        compiled = not options.no_compile
        self._tasks = [
            Task(options.depth, size, options.image_size, options.classes, options.dtype, compiled)
            for size in options.batch_sizes
        ]
        # All parts but the comparison use the first batch size, and groups of 128 images as the main recipe.
        first = self._tasks[0]
        self._main = dataclasses.replace(first, group_size=128 if first.batch_size > 128 else None)

    def repeat(self) -> None:
        """Runs the same steps in two processes; the first also records a trace."""
        for number, traced in ((1, _TRACED_STEPS), (2, 0)):
            request = {"task": dataclasses.asdict(self._main), "steps": self._options.steps, "traced_steps": traced}
            command = ["-m", "benchmarks.step_report", json.dumps(request)]
            self._report.measure(f"repeat {number}", functools.partial(self._json, command))

    def plan(self) -> None:
        """Plans for the same kind of GPU as this machine has, without using it; on a CPU, for the CPU."""
        gpu = gpu_of_kind(describe()["device"].split(",")[0])
        self._report.measure("plan", lambda: self._mode("plan", {"plan.topology": gpu} if gpu else {}))

    def side_by_side(self) -> None:
        """Compares the three trainers at the first batch size."""
        self._compare(self._tasks[0])

    def other_sizes(self) -> None:
        """Compares the three trainers at the other batch sizes."""
        for task in self._tasks[1:]:
            self._compare(task)

    def without(self) -> None:
        """Switches one optimization off at a time."""
        for name in self._options.without:
            self._report.measure(f"without {name}", functools.partial(self._slowdown, name))

    def benchmark(self) -> None:
        """Measures the step, decoding JPEG images, and both together."""
        settings = {
            "data.source": "synthetic_jpeg",
            "benchmark.parts": "('step','loader','together')",
            "benchmark.windows": self._options.windows,
            "benchmark.window_steps": self._options.steps,
        }
        self._report.measure("benchmark", lambda: self._mode("benchmark", settings))

    def _compare(self, task: Task) -> None:
        options, report = self._options, self._report
        windows = {"windows": options.windows, "steps": options.steps, "warmup": options.steps // 2}

        def work() -> dict[str, Any]:
            result = compare(options.trainers, task, deadline=report.seconds_left, **windows)
            report.check_time()  # trainers that were killed at the end of the time are measured the next time
            return result

        report.measure(f"side_by_side {task.batch_size}", work)

    def _slowdown(self, name: str) -> dict[str, Any]:
        """Times windows of our step with and without an optimization in turn; returns the ratio of their times."""
        tasks = {"with": self._main, "without": dataclasses.replace(self._main, without=name)}
        seconds: dict[str, list[float]] = {which: [] for which in tasks}
        with contextlib.ExitStack() as stack:
            processes = {
                which: stack.enter_context(StepProcess("ours", task, self._report.seconds_left))
                for which, task in tasks.items()
            }
            for _ in range(self._options.windows + 1):
                for which, process in processes.items():
                    taken = process.seconds(self._options.steps)
                    if taken is None:
                        self._report.check_time()
                        raise _LeftOutError(process.error)
                    seconds[which].append(taken)
        pairs = list(zip(seconds["without"], seconds["with"], strict=True))[1:]  # the first is a warm-up
        return {"seconds": seconds, "slower": statistics.median(without / own for without, own in pairs)}

    def _mode(self, mode: str, settings: dict[str, Any]) -> Any:
        """Runs main.py in a mode that writes a JSON file, for the main recipe; returns the values of the file."""
        task, path = self._main, self._scratch / f"{mode}.json"
        every = {
            "data.source": "synthetic",
            "data.synthetic.num_classes": task.num_classes,
            "data.batch_size": task.batch_size,
            "data.image_size": task.image_size,
            "model.depth": task.depth,
            "model.dtype": task.dtype,
            "model.bn_group_size": task.group_size,
            f"{mode}.json": path,
            **settings,
        }
        command = ["main.py", f"--mode={mode}", "--config=configs/resnet50.py", f"--workdir={self._scratch / mode}"]
        self._python([*command, *(f"--config.{key}={value}" for key, value in every.items())])
        return json.loads(path.read_text())

    def _json(self, command: Sequence[str]) -> Any:
        return json.loads(self._python(command))

    def _python(self, command: Sequence[str]) -> str:
        """Runs Python in the checkout, at most until the time is over; returns its output."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=max(self._report.seconds_left, 1),
            check=True,
        )
        return done.stdout


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file of the results; an existing one is completed")
    parser.add_argument("--parts", nargs="+", choices=Parts.names, default=Parts.names)
    parser.add_argument("--minutes", type=float, default=7.5, help="time for all parts (%(default)s)")
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--without", nargs="+", choices=SWITCHES, default=list(SWITCHES), help="what to switch off")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[256, 512], metavar="N")
    parser.add_argument("--depth", type=int, choices=(18, 50, 101), default=50)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--no-compile", action="store_true", help="PyTorch without torch.compile")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="steps per window, and of a run that is repeated")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
