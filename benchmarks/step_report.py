"""Describes our compiled training step on this device: its result, its kernels and where its time goes.

`on_a_gpu.py` runs `python -m benchmarks.step_report REQUEST`, where REQUEST is JSON with the task, the number of steps
and of traced steps. It prints one line of JSON. The digest is over all bytes of the training state after the steps, so
two runs with the same digest are equal bit by bit.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.top_operations import device_timelines, idle_share, most_time, read_trace
from benchmarks.trainers import Task
from benchmarks.trainers.ours import build
from resnet_jax.analysis.gpu_kernels import count_kernels, gpu_kernels
from resnet_jax.analysis.hlo_text import parse_computations
from resnet_jax.analysis.measure.step import StepRunner
from resnet_jax.analysis.program_cost import program_cost
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import compile_train_step
from resnet_jax.reporting import provenance

# What XLA writes into `backend_config` about the implementation that autotuning chose.
_CHOICES = re.compile(
    r'"(?:triton_gemm_config|block_level_fusion_config|cudnn_fusion_config|custom_fusion_config)":\{(?:[^{}]|\{[^{}]*\})*\}'
    r'|"selected_algorithm":"?-?\d+"?|"kind":"__[^"]*"'
)
_COUNT = 10  # operations that are listed


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles and runs the step; returns JSON values."""
    task = Task(**request["task"])
    built, start = build(task), time.perf_counter()
    step = compile_train_step(built, task.image_size)
    compiled = time.perf_counter() - start
    runner = StepRunner(built, step, task.image_size)
    runner(request["steps"])
    record = {
        "device_kind": jax.devices()[0].device_kind,
        "versions": provenance.versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "compile_seconds": compiled,
        "steps": request["steps"],
        "digest": digest(runner.state),
        "program": _program(step, built.computation.num_microbatches),
    }
    if request["traced_steps"]:
        record["trace"] = _trace(runner, request["traced_steps"])
    return record


def digest(state: Any) -> str:
    """Returns the SHA-256 of the bytes of all arrays of a state, in the order of its leaves."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        array = np.asarray(leaf)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def products(program: str) -> list[dict[str, Any]]:
    """Returns the matrix products of a GPU program, the largest first, each with the implementation that was chosen."""
    attributes = {one.name: one.attributes for body in parse_computations(program).values() for one in body}
    listed = [
        {
            "name": kernel.name,
            "flops": kernel.flops,
            "bytes": kernel.bytes,
            "precision": kernel.precision,
            "times": kernel.times,
            "chosen": re.findall(r'custom_call_target="([^"]*)"', attributes[kernel.name])
            + _CHOICES.findall(attributes[kernel.name]),
        }
        for kernel in gpu_kernels(program)
        if kernel.kind == "product"
    ]
    return sorted(listed, key=lambda product: -product["flops"])


def _program(step: Any, num_microbatches: int) -> dict[str, Any]:
    """Returns the figures that --mode=plan predicts, of the program that this device executes."""
    cost = program_cost(step, num_microbatches=num_microbatches)
    counts = count_kernels(cost.kernels)
    return {
        "flops": cost.flops,
        "bytes": cost.hbm_bytes,
        "peak_memory": cost.peak_memory,
        "kernels": counts.kernels,
        "small_kernels": counts.small,
        "scatters": counts.scatters,
        "products": products(step.as_text()) if cost.kernels else [],
    }


def _trace(runner: StepRunner, steps: int) -> dict[str, Any]:
    """Records a trace of some steps; returns the operations with the most time, and the number of all."""
    with tempfile.TemporaryDirectory(prefix="trace-") as scratch:
        with jax.profiler.trace(scratch):
            runner(steps)
        try:
            timelines = device_timelines(read_trace(Path(scratch)))
        except UsageError as error:
            return {"error": str(error)}
    return {
        "steps": steps,
        "operations": [operation._asdict() for operation in most_time(timelines, steps=steps, count=_COUNT)],
        "operations_per_step": sum(len(timeline) for timeline in timelines) / steps,
        "idle_share": idle_share(timelines),
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # prints of libraries go to stderr, so that stdout carries only JSON
    answers.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
    answers.flush()
