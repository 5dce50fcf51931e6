"""Measures the effect of weight averaging, mixup and other variants on the accuracy on the bundled digits.

    python benchmarks/digits_accuracy.py [--variants plain ema mixup] [--seeds N] [--set KEY=VALUE ...] [--json FILE]

Each run is `main.py --config=configs/digits.py` in its own process and work directory. The variants run in turn for
each seed, so that other load on the machine affects all of them alike. Runs with the same seed have the same initial
weights, order and crops, so differences to the plain recipe are computed per seed. An average does not change the
training: the trained weights of runs with an average are evaluated as well and have a row of their own, which equals
the plain recipe up to rounding.

One of the 360 test images is 0.28 %. "Best" is the mean over the runs of the best evaluation of each. It is selected on
the test set, so it is not an estimate of the accuracy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

from benchmarks.table import markdown
from resnet_jax.errors import UsageError
from resnet_jax.programs.command_line import fail

_ROOT = Path(__file__).resolve().parent.parent
_PLAIN = "plain"
VARIANTS: dict[str, dict[str, object]] = {
    _PLAIN: {},
    "ema": {"ema.decay": 0.99},  # averages about the last 100 of 808 steps
    "mixup": {"mixing.mixup_alpha": 0.2},
    "cutmix": {"mixing.cutmix_alpha": 1.0},
    "trivial_augment": {"data.augment.name": "trivial_augment"},
}
_HEADER = ("variant", "top-1, mean ± deviation", "lowest - highest", "best", "to plain", "seconds")


class Run(NamedTuple):
    """The result of one run."""

    seed: int
    top1: float  # top-1 accuracy at the end, 0 to 1
    best: float | None  # best top-1 accuracy of all evaluations; None: there was only one
    seconds: float  # time of training, compilation and evaluation


class Row(NamedTuple):
    """The results of one variant, in percent and seconds."""

    name: str
    runs: int
    mean: float
    deviation: float  # sample standard deviation; 0 for a single run
    lowest: float
    highest: float
    best: float | None  # mean of the best evaluations
    to_plain: tuple[float, float] | None  # mean and deviation of the differences to the plain runs, per seed
    seconds: float  # median over the runs


def main(argv: Sequence[str] | None = None) -> None:
    """Runs all variants, prints the table and writes the JSON file."""
    options = _parse(argv)
    results: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="digits_accuracy-") as scratch:
        try:
            for seed in range(options.seeds):
                for variant in options.variants:
                    workdir = Path(scratch, f"{variant}-{seed}")
                    for name, run in train(variant, seed, workdir, dict(options.set)).items():
                        results.setdefault(name, []).append(run)
                        print(f"seed {seed}  top-1 {100 * run.top1:6.2f} %  {run.seconds:4.0f} s  {name}", flush=True)
        except UsageError as error:
            fail(str(error))
        start = json.loads((workdir / "run.json").read_text())["starts"][0]
    rows = summarize(results)
    print("", render(rows), *conclusions(rows), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(_record(options, start, results, rows), indent=1) + "\n")


def train(variant: str, seed: int, workdir: Path, overrides: Mapping[str, object]) -> dict[str, Run]:
    """Trains a variant; returns its result by name, and that of its trained weights if it has an average."""
    keys = {**VARIANTS[variant], **overrides, "seed": seed}
    name = " ".join([variant, *(str(keys[key]) for key in VARIANTS[variant] if keys[key] != variant)])
    _main(workdir, keys)
    result = json.loads((workdir / "result.json").read_text())
    seconds = result["seconds"]["total"]
    runs = {name: Run(seed, result["eval"]["top1"], result["best"]["top1"], seconds)}
    if "ema.decay" in keys:
        _main(workdir, {**keys, "eval.weights": "trained"}, "--mode=eval")
        (path,) = workdir.glob("evaluations/*/certificate.json")
        evaluation = json.loads(path.read_text())
        runs[f"{name}, trained weights"] = Run(seed, evaluation["eval"]["top1"], None, seconds)
    return runs


def summarize(results: Mapping[str, Sequence[Run]]) -> list[Row]:
    """Returns a row per variant, with the differences to the plain variant if that was run."""
    plain = {run.seed: run.top1 for run in results.get(_PLAIN, ())}
    return [_row(name, runs, plain) for name, runs in results.items()]


def render(rows: Sequence[Row]) -> str:
    """Writes the rows as a Markdown table."""
    return markdown([_HEADER, *map(_cells, rows)])


def conclusions(rows: Sequence[Row]) -> list[str]:
    """Returns a line for each variant whose mean is more than a deviation of the plain recipe below its mean."""
    plain = next((row for row in rows if row.name == _PLAIN), None)
    if plain is None or plain.runs < 2:
        return ["no comparison with the plain recipe: it needs at least two seeds of it"]
    worse = [row for row in rows if plain.mean - row.mean > plain.deviation]
    return [
        f"{row.name} is {plain.mean - row.mean:.2f} below plain, whose standard deviation is {plain.deviation:.2f}"
        for row in worse
    ] or ["no variant is below plain by more than the standard deviation of plain"]


def _main(workdir: Path, keys: Mapping[str, object], *flags: str) -> None:
    """Runs `main.py`; raises UsageError with its last line if it fails."""
    command = [sys.executable, "main.py", "--config=configs/digits.py", f"--workdir={workdir}", *flags]
    command += [f"--config.{key}={value}" for key, value in keys.items()]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise UsageError(f"{' '.join(command[1:])} ended with status {done.returncode}: {last_line}")


def _row(name: str, runs: Sequence[Run], plain: Mapping[int, float]) -> Row:
    top1 = [100 * run.top1 for run in runs]
    differences = [100 * (run.top1 - plain[run.seed]) for run in runs if run.seed in plain]
    bests = [100 * run.best for run in runs if run.best is not None]
    return Row(
        name=name,
        runs=len(runs),
        mean=statistics.mean(top1),
        deviation=_deviation(top1),
        lowest=min(top1),
        highest=max(top1),
        best=statistics.mean(bests) if bests else None,
        to_plain=(statistics.mean(differences), _deviation(differences)) if differences and name != _PLAIN else None,
        seconds=statistics.median(run.seconds for run in runs),
    )


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.mean:.2f} ± {row.deviation:.2f} %",
        f"{row.lowest:.2f} - {row.highest:.2f} %",
        "" if row.best is None else f"{row.best:.2f} %",
        f"{row.to_plain[0]:+.2f} ± {row.to_plain[1]:.2f}" if row.to_plain else "",
        f"{row.seconds:.0f}",
    )


def _record(
    options: argparse.Namespace, start: dict[str, Any], results: Mapping[str, Sequence[Run]], rows: Sequence[Row]
) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "time": start["time"],
        "git_commit": start["git_commit"],
        "versions": start["versions"],
        "devices": start["devices"],
        "cores": os.cpu_count(),
        "overrides": dict(options.set),
        "variants": {name: VARIANTS[name] for name in options.variants},
        "runs": {name: [run._asdict() for run in runs] for name, runs in results.items()},
        "table": [row._asdict() for row in rows],
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=[_PLAIN, "ema", "mixup"],
        help="variants to train (%(default)s)",
    )
    add("--seeds", type=int, default=4, help="number of runs per variant, with seeds 0, 1, ... (%(default)s)")
    add(
        "--set",
        nargs="+",
        type=_override,
        default=[],
        metavar="KEY=VALUE",
        help="config keys for all variants, for example train.total_steps=8",
    )
    add("--json", type=Path, metavar="FILE", help="file for all measurements")
    options = parser.parse_args(argv)
    if options.seeds < 1:
        parser.error(f"--seeds={options.seeds} must be at least 1")
    return options


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, for example train.total_steps=8")
    return key, value


if __name__ == "__main__":
    main()
