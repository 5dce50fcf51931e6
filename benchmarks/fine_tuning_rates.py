"""Measures which learning rate fine-tunes best, for several batch sizes.

    python benchmarks/fine_tuning_rates.py --data_dir=DIR --init_from=WEIGHTS [--recipe photos:small] \
        [--batches 16 64 256] [--rates 0.01 0.03 0.1 0.3] [--seeds 2] [--set KEY=VALUE ...]

With these defaults it trains 24 times. Each run is the recipe with these weights and one learning rate, which is given
per 256 images: a batch of 64 has a quarter of it. The table has a row for each batch size and rate:

* top-1 on the evaluation set at the end, its mean over the seeds and its lowest and highest value;
* how far the kernels moved: |w - w0| / |w0| of each kernel but that of the last layer, median over kernels and seeds.

WEIGHTS should come from other images of the same size, and from the network of the recipe.
"""

import argparse
import ast
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import numpy as np

import resnet_jax as rj
from benchmarks.table import markdown
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path

_HEADER = ("batch", "rate per 256", "rate", "top-1, mean", "lowest - highest", "kernels moved by")


class Run(NamedTuple):
    """The result of one run."""

    top1: float  # top-1 accuracy at the end, 0 to 1
    movement: float  # median over the kernels of |w - w0| / |w0|


def fine_tune(recipe: str, changes: dict[str, Any]) -> Run:
    """Trains a recipe, NAME or NAME:ARGUMENT, with these changes by dotted key, and evaluates the end."""
    name, _, argument = recipe.partition(":")
    config = rj.get_recipe(name, *[argument] * bool(argument))
    config.update_from_flattened_dict(changes)
    run = rj.build(config)
    mesh, loader = run.computation.mesh, run.data.train_loader
    train_step = rj.compile_train_step(run, config.data.image_size)
    state = rj.initial_state(run)
    before = _kernels(state.params)
    for batch in rj.feed(loader, mesh=mesh, stop=run.milestones.total_steps):
        state, _ = train_step(state, batch)
    eval_step, totals = rj.compile_eval_step(run.computation, run.data.eval_loader), rj.zero_totals()
    for batch in rj.feed(run.data.eval_loader, mesh=mesh):
        totals = rj.merge_totals(totals, eval_step(state.variables, batch))
    after = _kernels(state.params)
    moved = [np.linalg.norm(after[path] - array) / np.linalg.norm(array) for path, array in before.items()]
    return Run(top1=rj.scalars(totals)["top1"], movement=statistics.median(map(float, moved)))


def _kernels(params: Any) -> dict[str, np.ndarray]:
    """Returns copies of the kernels, without that of the last layer, by path."""
    return {
        path: np.array(array)
        for path, array in by_path(params).items()
        if path.endswith("kernel") and not path.startswith("head/")
    }


def _row(batch: int, rate: float, runs: Sequence[Run]) -> tuple[str, ...]:
    top1 = [100 * run.top1 for run in runs]
    movement = statistics.median(run.movement for run in runs)
    return (
        f"{batch}",
        f"{rate:g}",
        f"{rate * batch / 256:.3g}",
        f"{statistics.mean(top1):.1f} %",
        f"{min(top1):.1f} - {max(top1):.1f}",
        f"{movement:.2%}",
    )


def main() -> None:
    """Parses the command line, measures, and reports a mistake in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="images in class folders")
    parser.add_argument("--init_from", required=True, help="weights to begin with")
    parser.add_argument("--recipe", default="photos:small", help="photos for weights of a ResNet-50")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3], help="for 256 images")
    parser.add_argument("--seeds", type=int, default=2, help="number of runs of each row")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further config keys")
    options = parser.parse_args()
    try:
        measure(options)
    except UsageError as error:
        sys.exit(f"error: {error}")


def measure(options: argparse.Namespace) -> None:
    """Trains with each batch size, rate and seed, and prints the table."""
    given = {"data.data_dir": options.data_dir, "model.init_from": options.init_from}
    given |= {key: _value(text) for key, _, text in (pair.partition("=") for pair in options.set)}
    rows = []
    for batch in options.batches:
        for rate in options.rates:
            keys = {"data.batch_size": batch, "schedule.base_lr": rate, "schedule.base_batch_size": 256}
            runs = [fine_tune(options.recipe, given | keys | {"seed": seed}) for seed in range(options.seeds)]
            rows.append(_row(batch, rate, runs))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(markdown([_HEADER, *rows]))


def _value(text: str) -> Any:
    """Reads a number, tuple or boolean as Python does; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
