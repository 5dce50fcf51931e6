"""Adds up the compiler's own estimates of time in a compiled TPU program, from the text of the program.

The TPU compiler writes the number of cycles that it expects an operation to take into the `backend_config` of the
operation. All convolutions and most other fusions have such estimates; collectives and some custom calls have none.
Asynchronous copies are left out, because they overlap with operations. The sum is an estimate, not a measurement, and
assumes that operations run one after the other. An operation without an estimate adds 0 cycles. The sum ranks programs
for the same network better than their bytes accessed do, if the same operations have estimates. The coverage is a share
of bytes, so that the many operations on single numbers do not matter.
"""

import collections
from typing import NamedTuple

from resnet_jax.analysis.hbm_traffic import is_operation
from resnet_jax.analysis.hlo_text import executed, parse_computations, size_in_bytes

_RELEVANT = 0.001  # `uncovered` lists opcodes whose operations have more than this share of the program's bytes


class EstimatedCycles(NamedTuple):
    """The compiler's estimates for one call of a program on one device."""

    cycles: int  # sum of the estimates
    operations: int  # number of executed operations with an estimate
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
    """Returns the estimates in a program's HLO text; None if it has none, as in programs for other devices than TPUs.

    The operations in a loop are counted once for each iteration.
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
