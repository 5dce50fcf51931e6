"""Reads FLOPs, memory traffic and collectives of a compiled program from XLA's analyses and from its text."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.stages import Compiled

from resnet_jax.analysis.gpu_kernels import Kernel, gpu_kernels
from resnet_jax.analysis.hbm_traffic import has_memory_spaces, hbm_traffic
from resnet_jax.analysis.hlo_collectives import Collectives, find_collectives
from resnet_jax.analysis.tpu_cycles import EstimatedCycles, estimated_cycles


class ProgramCost(NamedTuple):
    """Costs of one call of a compiled program on one device."""

    flops: float  # executed FLOPs; a multiply-accumulate counts as two
    bytes_accessed: float | None  # bytes of operands and results of all operations, in any memory; None: unknown
    hbm_bytes: float  # bytes read from and written to HBM; if they are unknown, the same as `bytes_accessed`
    peak_memory: int | None  # bytes of arguments, temporaries and results; donated arguments count once; None: unknown
    collectives: dict[str, Collectives]  # the collective operations by kind, e.g. 'all-reduce'
    kernels: Sequence[Kernel] = ()  # the kernels of a program for GPUs; () for other programs
    cycles: EstimatedCycles | None = None  # the compiler's estimate of time for a program for TPUs; None for others


def hardware_flops(compiled: Compiled, *, num_microbatches: int) -> float:
    """Returns the FLOPs that a device executes in one call: XLA counts one micro-batch, so its count is multiplied."""
    return num_microbatches * (compiled.cost_analysis() or {"flops": 0.0})["flops"]


def program_cost(compiled: Compiled, *, num_microbatches: int) -> ProgramCost:
    """Reads XLA's cost and memory analyses of a training step, and the text of the program.

    Args:
      compiled: the training step.
      num_microbatches: iterations of the loop of gradient accumulation. XLA counts the body of a loop once, so its
        FLOPs and bytes are multiplied by this number. The weight update, a few percent, is then counted several times.
        Kernels, bytes and cycles that are read from the text of the program are exact.
    """
    analysis, text = compiled.cost_analysis(), compiled.as_text() or ""
    kernels = gpu_kernels(text) if _is_for_gpus(compiled) else ()
    accessed = analysis and num_microbatches * analysis["bytes accessed"]
    flops = analysis and num_microbatches * analysis["flops"]
    return ProgramCost(
        # XLA's cost analysis is None for a GPU that is not attached: its FLOPs are counted from the kernels.
        flops=sum(kernel.times * kernel.flops for kernel in kernels) if flops is None else flops,
        bytes_accessed=accessed,
        hbm_bytes=_hbm_bytes(text, kernels, accessed, num_microbatches=num_microbatches),
        peak_memory=_peak_memory(compiled),
        collectives=find_collectives(text),
        kernels=kernels,
        cycles=estimated_cycles(text),
    )


def _hbm_bytes(text: str, kernels: Sequence[Kernel], accessed: float | None, *, num_microbatches: int) -> float:
    if kernels:
        return sum(kernel.times * kernel.bytes for kernel in kernels)
    if num_microbatches == 1 and has_memory_spaces(text):
        return hbm_traffic(text).total
    return accessed or 0.0


def _peak_memory(compiled: Compiled) -> int | None:
    memory = compiled.memory_analysis()
    return memory and (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def _is_for_gpus(compiled: Compiled) -> bool:
    shardings = jax.tree.leaves(compiled.output_shardings)
    return any(device.platform == "gpu" for sharding in shardings[:1] for device in sharding.device_set)
