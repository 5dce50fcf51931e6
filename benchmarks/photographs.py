"""Compares this trainer with PyTorch on photographs of solar cells: the same recipe, weights and crops, several seeds.

    pip install elpv-dataset torch
    python benchmarks/photographs.py --out=DIR [--seeds=5]

The images are the 2,624 photographs of `elpv-dataset` (electroluminescence of solar cells, Deitsch et al. 2019, Solar
Energy 185; CC BY-NC-SA 4.0), copied into class folders below DIR/data. There are four classes: cells of monocrystalline
or polycrystalline silicon, intact or, with a probability of at least 0.5 in the data set, defective. A hash of the file
name decides which 524 photographs are for evaluation, the same on every machine.

* Ours is a user's command: `configs/photos.py:small` with a ResNet-8 at 32 pixels for 10 epochs.
* PyTorch (`benchmarks/photographs_pytorch.py`) has a network, a loop and an optimizer of its own. It starts from the
  same weights, and gets the same crops in the same order, the same learning rates and the same decay. Flips are random
  in both, each with its own generator.

The table has a row for each trainer: top-1 on the 524 photographs, its mean over the seeds, lowest and highest, and the
minutes of a run. Below it is the difference with its 95 % interval, paired by seed (t distribution).
DIR/photographs.png has the training losses of all runs. Runs that are complete in DIR are not trained again.
"""

import argparse
import hashlib
import importlib.resources
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import numpy as np
from matplotlib.figure import Figure

from benchmarks.table import markdown
from resnet_jax.programs.comparison.statistics import over_seeds

PROJECT = Path(__file__).resolve().parent.parent
NUM_EVAL = 524
RECIPE = "photos:small"
CHANGES = {"data.image_size": 32, "model.depth": 8, "train.epochs": 10.0, "log.every_steps": 8}
_DEFECTIVE = 0.5  # least probability of a defect
_HEADER = ("trainer", "top-1, mean", "lowest - highest", "minutes a run")


class Run(NamedTuple):
    """A finished run."""

    top1: float  # top-1 accuracy at the end, 0 to 1
    steps: list[int]  # steps of `losses`
    losses: list[float]  # mean training loss since the step before
    minutes: float  # wall time


def write_folders(package: Path, out: Path) -> None:
    """Copies the photographs to `out`/{train,val}/CLASS/FILE; files that exist stay as they are.

    Args:
      package: directory of the package `elpv_dataset`.
      out: directory for the folders.
    """
    with (package / "data" / "labels.csv").open() as file:
        rows = [line.split() for line in file if line.strip()]
    labels = {name: f"{kind}_{'defective' if float(p) >= _DEFECTIVE else 'intact'}" for name, p, kind in rows}
    order = sorted(labels, key=lambda name: hashlib.sha256(Path(name).name.encode()).digest())
    for number, name in enumerate(order):
        target = out / ("val" if number < NUM_EVAL else "train") / labels[name] / Path(name).name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package / "data" / name, target)


def train_ours(data: Path, seed: int, workdir: Path) -> Run:
    """Trains this project's way, unless `workdir` has a result."""
    if not (workdir / "result.json").exists():
        changes = {"data.data_dir": data, "seed": seed} | CHANGES
        flags = [f"--config.{key}={value}" for key, value in changes.items()]
        _call("main.py", f"--config={RECIPE}", f"--workdir={workdir}", *flags)
    result = json.loads((workdir / "result.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["split"] == "train"]
    steps, losses = [line["step"] for line in lines], [line["loss"] for line in lines]
    return Run(result["eval"]["top1"], steps, losses, result["seconds"]["total"] / 60)


def train_pytorch(data: Path, seed: int, file: Path) -> Run:
    """Trains with PyTorch, unless `file` has a result."""
    if not file.exists():
        _call("-m", "benchmarks.photographs_pytorch", str(data), str(seed), str(file))
    return Run(**json.loads(file.read_text()))


def _call(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        sys.exit(f"error: {' '.join(words)} ended with status {done.returncode}: {last}")


def table(ours: Sequence[Run], pytorch: Sequence[Run]) -> str:
    """Returns the table, and the difference below it; the runs of both are paired by their order."""
    rows = [_HEADER]
    for name, runs in (("ours", ours), ("PyTorch", pytorch)):
        top1 = [100 * run.top1 for run in runs]
        minutes = statistics.mean(run.minutes for run in runs)
        rows.append((name, f"{statistics.mean(top1):.1f} %", f"{min(top1):.1f} - {max(top1):.1f}", f"{minutes:.1f}"))
    if len(ours) < 2:
        return markdown(rows)
    found = over_seeds(np.array([100 * (one.top1 - other.top1) for one, other in zip(ours, pytorch, strict=True)]))
    interval = f"95 %: {found.low:+.2f} to {found.high:+.2f}"
    return f"{markdown(rows)}\n\nours - PyTorch: {found.value:+.2f} points ({interval}; {len(ours)} pairs)"


def plot(ours: Sequence[Run], pytorch: Sequence[Run]) -> Figure:
    """Plots the training losses of all runs over each other."""
    figure = Figure((7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, runs, color in (("ours", ours, "#0969da"), ("PyTorch", pytorch, "#d1242f")):
        for number, run in enumerate(runs):
            axes.plot(run.steps, run.losses, color=color, linewidth=0.9, alpha=0.7, label=None if number else name)
    axes.set(xlabel="step", ylabel="training loss", title=f"{len(ours)} runs each", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main() -> None:
    """Parses the command line, trains what is missing, prints the table and draws the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for images and runs; may exist")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each trainer")
    options = parser.parse_args()
    for name, package in (("elpv_dataset", "elpv-dataset"), ("torch", "torch")):
        if importlib.util.find_spec(name) is None:
            sys.exit(f"error: the package {name} is missing: pip install {package}")
    out = options.out.resolve()
    write_folders(Path(str(importlib.resources.files("elpv_dataset"))), out / "data")
    ours, pytorch = [], []
    for seed in range(options.seeds):
        ours.append(train_ours(out / "data", seed, out / f"ours{seed}"))
        pytorch.append(train_pytorch(out / "data", seed, out / f"pytorch{seed}.json"))
        print(f"seed {seed}: ours {ours[-1].top1:.2%}, PyTorch {pytorch[-1].top1:.2%}", flush=True)
    plot(ours, pytorch).savefig(out / "photographs.png")
    print("", table(ours, pytorch), sep="\n")


if __name__ == "__main__":
    main()
