"""Runs main.py as a user does, in a separate process."""

import json
import os
import subprocess
import sys
from pathlib import Path

from drill.launch import Processes
from tests.paths import ROOT

# ResNet-8 with four features on 12-pixel digits: trains in a second.
SMALL = {
    "data.image_size": 12,
    "data.batch_size": 48,
    "model.features": 4,
    "train.total_steps": 60,
    "eval.every_steps": 30,
    "checkpoint.every_steps": 10,
    "log.every_steps": 10,
    "log.inputs": False,
    "log.trackers": (),
}


def command(config, workdir, changes=None):
    """Returns the command line of a run."""
    overrides = [f"--config.{key}={value}" for key, value in (changes or {}).items()]
    return [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}", *overrides]


def environment(data_dir, devices=1):
    """Returns the environment of a run: its data directory and number of virtual devices."""
    return {**os.environ, "TFDS_DATA_DIR": str(data_dir), "JAX_NUM_CPU_DEVICES": str(devices)}


def run(config, workdir, data_dir, changes=None, *, devices=1, timeout=300):
    """Runs to the end; returns the completed process with its output as text."""
    return subprocess.run(
        command(config, workdir, changes),
        cwd=ROOT,
        env=environment(data_dir, devices),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(config, workdir, data_dir, changes=None):
    """Starts a run in a process group of its own; its output goes to a pipe."""
    return subprocess.Popen(
        command(config, workdir, changes),
        cwd=ROOT,
        env=environment(data_dir) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_several(
    config,
    workdir,
    data_dir,
    changes=None,
    *,
    count,
    devices=1,
    flags=(),
    own_flags=(),
    program="main.py",
    variables=None,
):
    """Starts the processes of one run, each with `devices` virtual devices; output goes to files beside `workdir`.

    They connect at a free port, unless `own_flags`, a list of flags for each process, name an address.
    """
    _, _, *arguments = command(config, workdir, changes)
    return Processes(
        [*arguments, *flags],
        count=count,
        outputs=Path(f"{workdir}.outputs"),
        environment=environment(data_dir, devices) | (variables or {}),
        program=[program],
        own_arguments=own_flags,
    )


def read_result(workdir):
    """Returns the content of result.json."""
    return json.loads((Path(workdir) / "result.json").read_text())


def read_metrics(workdir):
    """Returns the lines of metrics.jsonl."""
    return [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
