"""The time from the start of the program to the end of its first training step, of real runs."""

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

from resnet_jax.errors import UsageError

# Every program is kept, not only those that take a second to compile.
_KEEP_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
_STOPPED = 75  # the exit status of a run that a signal stopped
# A run whose first step is of no use for anything else: nothing is evaluated, and each step is a line of metrics.
_CHANGES: dict[str, dict[str, Any]] = {
    "log": {"every_steps": 1},
    "eval": {"before_training": False, "every_steps": None, "every_epochs": 1e6},
    "checkpoint": {"every_steps": None},
    "train": {"max_steps": None, "profile_at": None},
}


def measure_first_step(settings: Mapping[str, Any], program: Path) -> dict[str, Any]:
    """Starts training twice, in processes of their own: with an empty compile cache, then with the same one filled.

    Args:
      settings: the resolved config.
      program: main.py.

    Returns:
      For 'cold' and 'warm': seconds from the start of the process until the results of the first step were there, and
      what they were spent on until it was in the log.

    Raises:
      UsageError: a run ended before its first step.
    """
    with tempfile.TemporaryDirectory(prefix="first_step-") as scratch:
        config = Path(scratch, "config")
        config.mkdir()
        changed = {section: {**settings[section], **keys} for section, keys in _CHANGES.items()}
        (config / "config.json").write_text(json.dumps({**settings, **changed}))
        return {name: _run(program, Path(scratch), name) for name in ("cold", "warm")}


def _run(program: Path, scratch: Path, name: str) -> dict[str, Any]:
    workdir = scratch / name
    command = [sys.executable, str(program), f"--config={program.parent / 'configs' / 'run.py'}:{scratch / 'config'}"]
    environment = {**os.environ, **_KEEP_ALL, "JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    errors = scratch / f"{name}.log"  # a pipe that nobody reads would stop the run when it is full
    with errors.open("w") as log:
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"], env=environment, stdout=subprocess.DEVNULL, stderr=log
        )
        _stop_after_first_step(process, workdir / "metrics.jsonl")
        process.wait()
    if process.returncode not in (0, _STOPPED):
        last = (errors.read_text(errors="replace").strip() or "it said nothing").splitlines()[-1]
        raise UsageError(f"a run that was to be timed ended with status {process.returncode}: {last}")
    return _read(workdir)


def _stop_after_first_step(process: subprocess.Popen, metrics: Path) -> None:
    """Waits for the first line of metrics, and asks the run to end; one that ends by itself is let go."""
    while process.poll() is None:
        if metrics.exists() and "\n" in metrics.read_text():
            process.send_signal(signal.SIGTERM)
            return
        time.sleep(0.05)


def _read(workdir: Path) -> dict[str, Any]:
    line = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    shares = {name.removeprefix("share_"): value for name, value in line.items() if name.startswith("share_")}
    return {
        "seconds": json.loads((workdir / "result.json").read_text())["seconds_to_first_step"],
        "parts": {part: line["seconds"] * share for part, share in shares.items() if share},
    }
