"""Prints figures of a recipe's training step, compiled for an H100 that is not attached, as JSON.

python tests/models/gpu_step.py DIRECTORY RECIPE KEY=VALUE ...    (DIRECTORY: empty, for the code that XLA generates)
"""

import ast
import importlib
import json
import os
import re
import sys
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
os.environ["XLA_FLAGS"] = f"--xla_dump_to={DIRECTORY} --xla_gpu_dump_llvmir"

# ruff: noqa: E402
from resnet_jax.analysis.gpu_topology import gpu_devices

DEVICES = gpu_devices("h100")  # before JAX is initialized

from resnet_jax import experiment
from resnet_jax.analysis.gpu_kernels import count_kernels, gpu_kernels
from resnet_jax.experiment.compile import compile_train_step

# Additions to memory in no fixed order, in PTX: an instruction, or a loop that compares and swaps.
ATOMIC = re.compile(r"\b(?:atom|red)\.[\w.:]*(?:add\.(?:noftz\.)?(?:f|bf)|cas)[\w.]*")


def main() -> None:
    config = importlib.import_module(f"resnet_jax.configs.{sys.argv[2]}").get_config()
    changes = dict(change.split("=", 1) for change in sys.argv[3:])
    config.update_from_flattened_dict({"data.source": "synthetic"} | {k: _value(v) for k, v in changes.items()})
    program = compile_train_step(experiment.build(config, devices=DEVICES), config.data.image_size).as_text()
    kernels = gpu_kernels(program)
    code = "\n".join(path.read_text() for path in DIRECTORY.glob("*.ptx"))
    figures = {
        **count_kernels(kernels)._asdict(),
        "bytes_per_image": sum(kernel.times * kernel.bytes for kernel in kernels) / config.data.batch_size,
        "functions": code.count(".entry "),
        "atomics": sorted(set(ATOMIC.findall(code))),
    }
    print(json.dumps(figures))


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    main()
