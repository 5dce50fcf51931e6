"""Adds up the compiler's own estimates of time in a compiled TPU program, from the text of the program.

The TPU compiler writes the cycles that it expects of an operation into the operation's `backend_config`. It estimates
all convolutions and most other fusions; it gives none for collectives and some custom calls. Asynchronous copies have
none either: they overlap with operations. The sum is an estimate, not a measurement, and assumes that operations run
one after the other. It ranks programs for the same network better than their bytes accessed do, as long as the same
operations have estimates: an operation without one adds 0 cycles. The coverage is a share of bytes, so that operations
on single numbers, of which a program has many, do not matter.
"""

import collections
from typing import NamedTuple

from resnet_jax.analysis.hbm_traffic import is_operation
from resnet_jax.analysis.hlo_text import executed, parse_computations, size_in_bytes

_RELEVANT = 0.001  # share of the bytes above which `uncovered` lists an opcode


class EstimatedCycles(NamedTuple):
    """The compiler's estimates for one call of a program on one device."""

    cycles: int  # sum of the estimates
    operations: int  # operations with an estimate
    bytes: int  # bytes of the operands and results of these operations, in any memory
    bytes_without: dict[str, int]  # opcode -> bytes of its operations without an estimate, the largest first

    @property
    def coverage(self) -> float:
        """Share of the bytes of all operations that belongs to operations with an estimate, 0 to 1."""
        return self.bytes / (self.bytes + sum(self.bytes_without.values()))

    @property
    def uncovered(self) -> list[str]:
        """Returns the HLO opcodes that the compiler gives no estimate for, in descending order of their bytes.

        Opcodes with at most a thousandth of the bytes of the program are left out.
        """
        total = self.bytes + sum(self.bytes_without.values())
        return [opcode for opcode, size in self.bytes_without.items() if size > _RELEVANT * total]


def estimated_cycles(program: str) -> EstimatedCycles | None:
    """Returns the estimates in a program's HLO text; None if it has no estimates, as programs for other devices.

    The body of a loop counts once for each iteration.
    """
    if '"estimated_cycles"' not in program:
        return None
    computations = parse_computations(program)
    shapes = {name: {one.name: one.shape for one in body} for name, body in computations.items()}
    cycles = operations = covered = 0
    without: collections.Counter[str] = collections.Counter()
    for owner, instruction, times in executed(computations):
        if not is_operation(instruction):
            continue
        operands = sum(size_in_bytes(shapes[owner].get(operand, "")) for operand in instruction.operands)
        moved = times * (operands + size_in_bytes(instruction.shape))
        estimate = int(instruction.attribute(r'"estimated_cycles":"?(-?\d+)') or -1)
        if estimate < 0:
            without[instruction.opcode] += moved
        else:
            cycles, operations, covered = cycles + times * estimate, operations + times, covered + moved
    return EstimatedCycles(cycles, operations, covered, dict(without.most_common()))
