"""The last lines of a run."""

import sys
from pathlib import Path
from typing import Any

from resnet_jax.ledger_words import time_table
from resnet_jax.workdir import Workdir


def summary(result: dict[str, Any], workdir: Workdir) -> list[str]:
    """Says in words what `result.json` says, where things are, and how to look at them."""
    lines = time_table(result["seconds"])
    if result["images_per_second"]:
        lines.append(f"rate         {result['images_per_second']:,.0f} images/s while training")
    if result["eval"]:
        lines.insert(0, f"accuracy     {accuracy(result['eval'])}")
    if result["best"]:
        best = result["best"]
        lines.insert(1, f"best         top-1 {100 * best['top1']:.2f} % at step {best['step']:,}")
    if result["bad_examples"]:
        lines.append(f"unreadable   {result['bad_examples']:,} images: {_short(workdir.bad_examples)}")
    lines.append(f"results      {_short(workdir.result)}, {workdir.metrics.name}, {workdir.log.name}")
    if workdir.report.exists():
        lines.append(f"report       {_short(workdir.report)}: loss, accuracy, rate, and where the time went")
    lines.append(f"checkpoints  {_short(workdir.checkpoints)}")
    if list(workdir.path.glob("events.out.tfevents.*")):
        program = Path(sys.executable).parent / "tensorboard"
        lines.append(f"TensorBoard  {_short(program)} --logdir {_short(workdir.path)}")
    return lines


def accuracy(scalars: dict[str, Any]) -> str:
    """In percent, and of how many examples."""
    return f"top-1 {100 * scalars['top1']:.2f} %, top-5 {100 * scalars['top5']:.2f} %, n = {scalars['count']:,}"


def _short(path: Path) -> str:
    """The path from here if it is below, else in full."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
