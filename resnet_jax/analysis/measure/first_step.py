"""Measures the time from the start of a process to the end of its first training step, by starting training runs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import resnet_jax
from resnet_jax.errors import UsageError

# With these variables, JAX caches every program, not only those that take at least a second to compile.
_KEEP_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
_STOPPED = 75  # exit status of a run that was stopped by a signal
# Changes to the config: no evaluation or checkpoint before the first step, and a line of metrics after each step.
_CHANGES: dict[str, dict[str, Any]] = {
    "log": {"every_steps": 1},
    "eval": {"before_training": False, "every_steps": None, "every_epochs": 1e6},
    "checkpoint": {"every_steps": None},
    "train": {"max_steps": None, "profile_at": None},
}


def measure_first_step(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Starts training twice in child processes: with an empty compile cache, then with the cache of the first process.

    Args:
      settings: the resolved config.

    Returns:
      For each of 'cold' (empty cache) and 'warm', a dict: 'seconds' from the start of the process to the results of the
      first step, and 'parts', the seconds in each phase.

    Raises:
      UsageError: a child process ended before its first step.
    """
    changed = {section: {**settings[section], **keys} for section, keys in _CHANGES.items()}
    with tempfile.TemporaryDirectory(prefix="first_step-") as scratch:
        return {name: _run({**settings, **changed}, Path(scratch), name) for name in ("cold", "warm")}


def _run(settings: Mapping[str, Any], scratch: Path, name: str) -> dict[str, Any]:
    """Trains to the first step, in the new work directory `scratch / name`; returns the times of the first step."""
    workdir = scratch / name
    workdir.mkdir()
    # If the command has --workdir but no --config, the run uses the config.json in the work directory.
    (workdir / "config.json").write_text(json.dumps(settings))
    environment = {**os.environ, **_KEEP_ALL, "JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    # With PYTHONPATH, the child process can import the package even if it is a checkout that is not installed.
    search = [str(Path(resnet_jax.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    errors = scratch / f"{name}.log"  # not a pipe: it would fill up, because nobody reads it, and block the run
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "resnet_jax", f"--workdir={workdir}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        _stop_after_first_step(process, workdir / "metrics.jsonl")
        process.wait()
    if process.returncode not in (0, _STOPPED):
        last = (errors.read_text(errors="replace").strip() or "it printed no error").splitlines()[-1]
        raise UsageError(f"the run to be timed ended with status {process.returncode} before its first step: {last}")
    return _read(workdir)


def _stop_after_first_step(process: subprocess.Popen, metrics: Path) -> None:
    """Waits until `metrics` (`metrics.jsonl`) has a line, then sends SIGTERM; also returns if the process has ended."""
    while process.poll() is None:
        if metrics.exists() and "\n" in metrics.read_text():
            process.send_signal(signal.SIGTERM)
            return
        time.sleep(0.05)


def _read(workdir: Path) -> dict[str, Any]:
    """Returns the seconds until the end of the first step (from `result.json`) and by phase (from `metrics.jsonl`)."""
    line = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    shares = {name.removeprefix("share_"): value for name, value in line.items() if name.startswith("share_")}
    return {
        "seconds": json.loads((workdir / "result.json").read_text())["seconds_to_first_step"],
        "parts": {phase: line["seconds"] * share for phase, share in shares.items() if share},
    }
