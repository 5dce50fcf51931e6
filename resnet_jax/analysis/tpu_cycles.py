"""Adds up the compiler's own estimates of time in a compiled TPU program, from the text of the program.

The TPU compiler writes the cycles that it expects of an operation into the operation's `backend_config`. It estimates
all convolutions and most other fusions; it gives none for collectives and custom calls. Asynchronous copies have none
either: they run beside the operations. The sum is an estimate, no measurement, and takes the operations one after the
other. It ranks programs for the same network better than bytes do, as long as they have estimates for the same share of
their operations: compare the coverage first.
"""

import collections
from typing import NamedTuple

from resnet_jax.analysis.hbm_traffic import is_operation
from resnet_jax.analysis.hlo_text import executed, parse_computations


class EstimatedCycles(NamedTuple):
    """The compiler's estimates for one call of a program on one device."""

    cycles: int  # sum of the estimates
    operations: int  # operations with an estimate
    without: dict[str, int]  # number of operations without one, by opcode, the most frequent first

    @property
    def coverage(self) -> float:
        """Share of the operations that have an estimate, 0 to 1."""
        return self.operations / (self.operations + sum(self.without.values()))


def estimated_cycles(program: str) -> EstimatedCycles | None:
    """Returns the estimates in a program's HLO text; None if there is none, as in programs for other devices.

    The body of a loop counts once for each iteration.
    """
    cycles, operations = 0, 0
    without: collections.Counter[str] = collections.Counter()
    for _, instruction, times in executed(parse_computations(program)):
        estimate = int(instruction.attribute(r'"estimated_cycles":"?(-?\d+)') or -1)
        if estimate >= 0:
            cycles += times * estimate
            operations += times
        elif is_operation(instruction):
            without[instruction.opcode] += times
    return EstimatedCycles(cycles, operations, dict(without.most_common())) if operations else None
