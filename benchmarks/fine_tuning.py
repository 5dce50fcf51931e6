"""Compares fine-tuning with training from scratch: few images of new classes, weights trained on other classes.

    python benchmarks/fine_tuning.py --out=DIR [--seeds=5]

The images are the bundled digits, written as PNG files into class folders below DIR:

* DIR/first: all 901 images of the digits 0 to 4, for the weights, which train for 20 epochs;
* DIR/second: the digits 5 to 9, of each 20 images for training, and the other 796 images for evaluation.

Every other run is a user's command: `configs/photos.py:small` at 32 pixels with a ResNet-8, with the batch size,
learning rate and epochs that the recipe computes. With weights it trains for a quarter of the epochs, at half the
learning rate. The table has top-1 on the 796 images: mean over the seeds, lowest and highest. DIR/weights serves as
`--init_from`, and DIR/second as `--data_dir`, of `benchmarks/fine_tuning_rates.py`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import numpy as np
from PIL import Image

from benchmarks.table import markdown
from resnet_jax.data.datasets.digits.builder import load

PROJECT = Path(__file__).resolve().parent.parent
_TRAIN_PER_CLASS = 20
_EPOCHS_OF_WEIGHTS = 20
_FLAGS = ("--config.data.image_size=32", "--config.model.depth=8", "--config.input.flip=False")  # a mirrored 5 is no 5
_HEADER = ("run", "steps", "top-1, mean", "lowest - highest")


def write_folders(out: Path) -> None:
    """Writes the two data sets, `out`/first and `out`/second; files that exist stay as they are."""
    images, labels = load()
    for label in range(10):
        rows = np.nonzero(labels == label)[0]
        # The file is ordered by writer: evenly spaced rows are of many writers.
        train = set(rows[np.arange(_TRAIN_PER_CLASS) * len(rows) // _TRAIN_PER_CLASS].tolist())
        for row in rows.tolist():
            split = "second/train" if row in train else "second/val"
            path = out / ("first" if label < 5 else split) / str(label) / f"{row:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                Image.fromarray(images[row]).save(path)


def train(data: Path, workdir: Path, *flags: str) -> tuple[int, float]:
    """Trains the recipe on a folder, unless `workdir` has a result; returns the steps and the last top-1, 0 to 1."""
    record = _result(workdir)
    if record is None:
        recipe = ["--config=configs/photos.py:small", f"--config.data.data_dir={data}", f"--workdir={workdir}"]
        command = [sys.executable, "main.py", *recipe, *_FLAGS, *flags]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: {' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        record = _result(workdir) or sys.exit(f"error: the run in {workdir} was stopped")
    return record["step"], record["eval"]["top1"]


def _result(workdir: Path) -> Any:
    """Returns the content of `result.json`; None if the run has not reached its end."""
    file = workdir / "result.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    return record if record.get("stop_reason") == "completed" else None


def row(name: str, runs: Sequence[tuple[int, float]]) -> tuple[str, ...]:
    """Returns a row of the table, for runs as `train` returns them."""
    top1 = [100 * value for _, value in runs]
    return name, f"{runs[0][0]:,}", f"{statistics.mean(top1):.1f} %", f"{min(top1):.1f} - {max(top1):.1f}"


def measure(out: Path, num_seeds: int) -> str:
    """Writes the images, trains what has not been trained yet, and returns the table."""
    write_folders(out)
    train(out / "first", out / "weights", f"--config.train.epochs={_EPOCHS_OF_WEIGHTS}")
    init = f"--config.model.init_from={out / 'weights'}"
    scratch, tuned = [], []
    for seed in range(num_seeds):
        flag = f"--config.seed={seed}"
        scratch.append(train(out / "second", out / f"scratch{seed}", flag))
        tuned.append(train(out / "second", out / f"tuned{seed}", flag, init))
    return markdown([_HEADER, row("from scratch", scratch), row("fine-tuned", tuned)])


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for images and runs; may exist")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each kind")
    options = parser.parse_args()
    print(measure(options.out.resolve(), options.seeds))


if __name__ == "__main__":
    main()
