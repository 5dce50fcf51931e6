"""What a compiled program costs, as XLA says."""

from typing import NamedTuple

from jax.stages import Compiled

from resnet_jax.analysis.hbm_traffic import has_chip_memory, hbm_traffic
from resnet_jax.analysis.hlo_collectives import Collectives, find_collectives


class ProgramCost(NamedTuple):
    """What one device does in one call."""

    flops: float  # a multiplication and an addition are two
    bytes_accessed: float  # read and written by operations, wherever that lies
    hbm_bytes: float  # of these, what crosses the border of the chip; all, where the program does not say
    peak_memory: int | None  # bytes of arguments, temporaries and results, where one is put in place of another once
    collectives: dict[str, Collectives]


def device_flops(compiled: Compiled, *, parts: int) -> float:
    """The FLOPs of one device in one call; `parts` as in `program_cost`."""
    return parts * (compiled.cost_analysis() or {"flops": 0.0})["flops"]


def program_cost(compiled: Compiled, *, parts: int) -> ProgramCost:
    """Reads XLA's own analysis.

    Args:
      compiled: a training step.
      parts: of the batch, that go through the network in a loop. XLA counts what is in a loop once; so here all is
        taken that many times, the update of the weights too, which is a small share.
    """
    analysis, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    peak = memory and (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    text, accessed = compiled.as_text() or "", parts * analysis["bytes accessed"]
    return ProgramCost(
        flops=device_flops(compiled, parts=parts),
        bytes_accessed=accessed,
        hbm_bytes=hbm_traffic(text).total if parts == 1 and has_chip_memory(text) else accessed,
        peak_memory=peak,
        collectives=find_collectives(text),
    )
