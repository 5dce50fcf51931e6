"""Reads FLOPs, memory traffic and collectives of a compiled program from XLA's analyses."""

from typing import NamedTuple

from jax.stages import Compiled

from resnet_jax.analysis.hbm_traffic import has_memory_spaces, hbm_traffic
from resnet_jax.analysis.hlo_collectives import Collectives, find_collectives


class ProgramCost(NamedTuple):
    """Costs of one call of a compiled program on one device."""

    flops: float  # executed FLOPs; a multiply-accumulate counts as two
    bytes_accessed: float  # bytes of operands and results of all operations, in any memory
    hbm_bytes: float  # bytes read from and written to HBM; where unknown, `bytes_accessed`
    peak_memory: int | None  # bytes of arguments, temporaries and results; donated arguments count once; None: unknown
    collectives: dict[str, Collectives]  # the collective operations by kind, e.g. 'all-reduce'


def hardware_flops(compiled: Compiled, *, num_microbatches: int) -> float:
    """Returns the FLOPs that one device executes in one call: XLA's count, of one micro-batch, times their number."""
    return num_microbatches * (compiled.cost_analysis() or {"flops": 0.0})["flops"]


def program_cost(compiled: Compiled, *, num_microbatches: int) -> ProgramCost:
    """Reads XLA's cost and memory analyses of a training step.

    Args:
      compiled: the training step.
      num_microbatches: iterations of the loop of gradient accumulation. XLA counts the body of a loop once, so FLOPs
        and bytes are multiplied by this number; the weight update, a few percent, is then counted too often.
    """
    analysis, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    peak = memory and (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    text, accessed = compiled.as_text() or "", num_microbatches * analysis["bytes accessed"]
    return ProgramCost(
        flops=hardware_flops(compiled, num_microbatches=num_microbatches),
        bytes_accessed=accessed,
        hbm_bytes=hbm_traffic(text).total if num_microbatches == 1 and has_memory_spaces(text) else accessed,
        peak_memory=peak,
        collectives=find_collectives(text),
    )
