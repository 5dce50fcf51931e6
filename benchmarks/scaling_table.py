"""Makes the table of docs/scaling.md: cost and bounds of a config on TPU topologies of several sizes.

    python benchmarks/scaling_table.py [--config FILE] [--topologies v5e:2x2 v5e:4x4 ...] [--per-chip N] [--json FILE]

Each row is the result of `main.py --mode=plan` in its own process, with a batch of N images per device, and takes
minutes. It needs libtpu (`pip install -e '.[tpu]'`), but neither a TPU nor data.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

from benchmarks.table import markdown
from resnet_jax.errors import UsageError
from resnet_jax.programs.command_line import fail

_ROOT = Path(__file__).resolve().parent.parent
_TOPOLOGIES = ("v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16", "v6e:4x4", "v4:2x2x4")
_HEADER = (
    *("topology", "devices", "batch", "GFLOP per image", "HBM per image", "memory", "all-reduces"),
    *("least ms: FLOPs", "HBM", "links", "images/s at most", "HFU at most"),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Computes the plans, prints the table and writes the JSON file."""
    options = _parse(argv)
    plans = []
    with tempfile.TemporaryDirectory(prefix="scaling_table-") as scratch:
        for topology in options.topologies:
            try:
                plans.append(make_plan(options.config, topology, options.per_chip, Path(scratch, "plan.json")))
            except UsageError as error:
                fail(str(error))
            print(f"{topology}: compiled in {plans[-1]['compile_seconds']:.0f} s", file=sys.stderr, flush=True)
    print(render(plans))
    if options.json:
        options.json.write_text(json.dumps(plans, indent=1) + "\n")


def count_devices(topology: str) -> int:
    """Returns the number of chips of a topology, for example 16 for 'v5e:4x4'. Raises UsageError if it is malformed."""
    axes = re.fullmatch(r"\w+:(\d+(?:x\d+)*)", topology)
    if axes is None:
        raise UsageError(
            f"--topologies {topology!r} is malformed: name a TPU version and the chips per axis, as in v5e:4x4"
        )
    count = 1
    for length in axes[1].split("x"):
        count *= int(length)
    return count


def make_plan(config: str, topology: str, per_chip: int, path: Path) -> dict[str, Any]:
    """Compiles for a topology and returns the plan. Raises UsageError with the message of the program if it fails."""
    settings = {
        "data.source": "synthetic",
        "data.batch_size": per_chip * count_devices(topology),
        "plan.topology": topology,
        "plan.json": path,
    }
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "main.py", "--mode=plan", f"--config={config}", *overrides]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{topology}: {done.stderr.strip().removeprefix('error: ')}")
    return json.loads(path.read_text())


def render(plans: Sequence[dict[str, Any]]) -> str:
    """Writes the plans as a Markdown table."""
    return markdown([_HEADER, *map(_cells, plans)])


def _cells(plan: dict[str, Any]) -> tuple[str, ...]:
    device, per_device = plan["per_device"], plan["batch_size"] / plan["devices"]
    first = (plan["topology"], f"{plan['devices']:,}", f"{plan['batch_size']:,}")
    if not device["fits"]:
        return (*first, "", "", "does not fit", "", "", "", "", "", "")
    reduced, least = plan["collectives"].get("all-reduce", {"count": 0, "bytes": 0}), plan["seconds_per_step_bound"]
    return (
        *first,
        f"{device['flops'] / per_device / 1e9:.2f}",
        f"{plan['hbm_bytes_per_image'] / 1e6:.1f} MB",
        f"{device['peak_memory_bytes'] / 1e9:.2f} GB of {device['memory_bytes'] / 1e9:.0f}",
        f"{reduced['count']} of {reduced['bytes'] / 1e6:.1f} MB",
        *(_milliseconds(least[resource]) for resource in ("flops", "hbm", "links")),
        f"{plan['images_per_second_bound']:,.0f}",
        f"{plan['hfu_bound']:.1%}".replace("%", " %"),
    )


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.1f}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Makes the table of docs/scaling.md.")
    parser.add_argument("--config", default="configs/resnet50.py", help="config of the training")
    parser.add_argument("--topologies", nargs="+", default=_TOPOLOGIES, help="topologies to compile for")
    parser.add_argument("--per-chip", type=int, default=128, help="images per chip")
    parser.add_argument("--json", type=Path, help="file for the plans")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
