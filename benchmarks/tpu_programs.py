"""Compares the compiled TPU programs of our training step and of a Flax-style one; no TPU is needed.

    python benchmarks/tpu_programs.py [--topology v5e:2x2] [--batch-per-chip 128] [--kinds] [--json FILE]

Needs libtpu (pip install -e '.[tpu]') and one to two minutes per program. The numbers are XLA's for one chip, except
'HBM', the bytes read from and written to HBM (`analysis/hbm_traffic.py`), and 'bound by HBM', the rate at which these
bytes take the whole memory bandwidth of the chip. 'Estimated cycles' are the compiler's estimates of the time of a step
(`analysis/tpu_cycles.py`), with the share of the bytes whose operations have one: compare programs of equal shares.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import jax
from jax.sharding import Mesh
from jax.stages import Compiled

from benchmarks.table import markdown
from benchmarks.trainers.flax_style import flax_style
from resnet_jax import experiment
from resnet_jax.analysis.hbm_traffic import hbm_traffic
from resnet_jax.analysis.program_cost import ProgramCost, program_cost
from resnet_jax.analysis.roofline import PEAKS, Peaks
from resnet_jax.analysis.tpu_topology import tpu_devices
from resnet_jax.configs import resnet50
from resnet_jax.distributed.mesh import make_mesh, over_batch, replicated
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import compile_train_step
from resnet_jax.programs.command_line import fail
from resnet_jax.reporting import provenance

_HEADER = (
    *("step", "bytes accessed", "HBM", "GFLOP", "peak memory", "all-reduces", "bound by HBM"),
    *("estimated cycles", "at the chip's clock"),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Compiles the programs, prints the table and writes the JSON file."""
    options = _parse(argv)
    try:
        mesh = make_mesh(tpu_devices(options.topology))
    except UsageError as error:
        fail(str(error))
    batch_size = options.batch_per_chip * mesh.size
    makers = {"ours": _ours, "flax": _flax_style}
    found = {
        name: measure(makers[name](mesh, batch_size, options), mesh, options.batch_per_chip) for name in options.steps
    }
    print(f"{options.topology}, {options.batch_per_chip} images of {options.image_size} px per chip; per image:")
    print(table(found))
    for name, figures in found.items():
        print(
            f"operations without estimated cycles, {name}: {', '.join(figures['opcodes_without_estimate']) or 'none'}"
        )
    if options.kinds:
        for name, figures in found.items():
            print(f"\n{name}: HBM, MB per image")
            print(*(f"{size / 1e6:9.2f}  {kind}" for kind, size in figures["kinds"].items()), sep="\n")
    if options.json:
        record = {"command": sys.argv, "versions": provenance.versions(), "topology": options.topology}
        options.json.write_text(json.dumps(record | {"found": found}, indent=1) + "\n")


def measure(compiled: Compiled, mesh: Mesh, images: int) -> dict[str, Any]:
    """Returns the costs of a program; bytes and FLOPs are per image, of `images` images per chip."""
    cost, traffic = program_cost(compiled, num_microbatches=1), hbm_traffic(compiled.as_text() or "")
    peaks = PEAKS[mesh.devices.flat[0].device_kind]
    assert cost.bytes_accessed is not None  # XLA reports it for TPUs
    reduced = cost.collectives.get("all-reduce")
    return {
        "bytes_accessed": cost.bytes_accessed / images,
        "hbm_bytes": traffic.total / images,
        "flops": cost.flops / images,
        "peak_memory": cost.peak_memory,
        "all_reduces": reduced.operations if reduced else 0,
        "all_reduced_bytes": reduced.bytes if reduced else 0,
        "images_per_second_bound": peaks.hbm_bytes_per_second / (traffic.total / images),
        **_cycles(cost, peaks, images),
        "kinds": {kind: size / images for kind, size in {**traffic.operations, "copies": traffic.copies}.items()},
    }


def _cycles(cost: ProgramCost, peaks: Peaks, images: int) -> dict[str, Any]:
    """Returns the compiler's estimate of the time of a step, and what it means at the clock of the chip."""
    cycles = cost.cycles
    seconds = cycles.cycles / peaks.clock if cycles and peaks.clock else None
    return {
        "estimated_cycles": cycles and cycles.cycles,
        "estimated_cycles_coverage": cycles and cycles.coverage,
        "opcodes_without_estimate": cycles.uncovered if cycles else [],
        "images_per_second_estimated": seconds and images / seconds,
        "share_of_peak_estimated": seconds and cost.flops / seconds / peaks.bf16_flops,
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Formats the costs as a Markdown table."""
    lines = [
        (
            name,
            f"{figures['bytes_accessed'] / 1e6:.1f} MB",
            f"{figures['hbm_bytes'] / 1e6:.1f} MB",
            f"{figures['flops'] / 1e9:.2f}",
            f"{figures['peak_memory'] / 1e9:.2f} GB",
            f"{figures['all_reduces']} of {figures['all_reduced_bytes'] / 1e6:.1f} MB",
            f"{figures['images_per_second_bound']:,.0f} images/s per chip",
            *_cycles_cells(figures),
        )
        for name, figures in found.items()
    ]
    return markdown([_HEADER, *lines])


def _cycles_cells(figures: dict[str, Any]) -> tuple[str, str]:
    if figures["estimated_cycles"] is None:
        return "none", ""
    cells = f"{figures['estimated_cycles'] / 1e6:.2f} M for {figures['estimated_cycles_coverage']:.1%} of the bytes"
    if figures["images_per_second_estimated"] is None:
        return cells, "unknown"
    rate, share = figures["images_per_second_estimated"], figures["share_of_peak_estimated"]
    return cells, f"{rate:,.0f} images/s per chip, {share:.0%} of peak"


def _ours(mesh: Mesh, batch_size: int, options: argparse.Namespace) -> Compiled:
    config = resnet50.get_config()
    changes = {
        "data.source": "synthetic",
        "data.batch_size": batch_size,
        "data.image_size": options.image_size,
        "model.bn_group_size": options.batch_per_chip,
        "model.depth": options.depth,
    }
    config.update_from_flattened_dict(changes)
    built = experiment.build(config, devices=list(mesh.devices.flat))
    return compile_train_step(built, options.image_size)


def _flax_style(mesh: Mesh, batch_size: int, options: argparse.Namespace) -> Compiled:
    side = options.image_size
    program = flax_style(depth=options.depth, num_classes=1000, image_size=side, dtype="bfloat16")
    whole, rows = replicated(mesh), over_batch(mesh)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), jax.eval_shape(program.init)
    )
    images = jax.ShapeDtypeStruct((batch_size, side, side, 3), "uint8", sharding=rows)
    labels = jax.ShapeDtypeStruct((batch_size,), "int32", sharding=rows)
    jitted = jax.jit(program.step, donate_argnums=0, in_shardings=(whole, rows, rows), out_shardings=(whole, whole))
    return jitted.lower(state, images, labels).compile()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x2", help="TPU topology, as in config.plan.topology (%(default)s)")
    parser.add_argument("--batch-per-chip", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--depth", type=int, choices=(18, 50, 101), default=50)
    parser.add_argument("--steps", nargs="+", choices=("ours", "flax"), default=["ours", "flax"])
    parser.add_argument("--kinds", action="store_true", help="also print the HBM traffic by kind of operation")
    parser.add_argument("--json", type=Path, help="file for all results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
