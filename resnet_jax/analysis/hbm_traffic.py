"""Counts the bytes that a compiled TPU program reads from and writes to HBM, from the text of the program.

XLA's own figure, 'bytes accessed', is the total size of the operands and results of all operations, whether they are in
HBM or in on-chip memory (VMEM). If a tensor is prefetched into VMEM, it counts it three or four times, and once more
when it is used (docs/performance.md). This module counts each transfer to or from HBM once.
"""

import collections
from typing import NamedTuple

from resnet_jax.analysis.hlo_text import ENTRY, NO_DATA, Array, Instruction, arrays, parse_computations

_COPIES = {"copy-start", "slice-start"}  # asynchronous transfers by the DMA engines
_CONCAT_BITCAST = "ConcatBitcast"  # joins slices that are already adjacent in memory, so it moves no bytes


class Traffic(NamedTuple):
    """Bytes that one device reads from and writes to HBM in one call of a program."""

    operations: dict[str, int]  # bytes by kind of operation, e.g. 'convolution backward'
    copies: int  # bytes of asynchronous copies between HBM and VMEM

    @property
    def total(self) -> int:
        """Bytes of operations and of asynchronous copies together."""
        return sum(self.operations.values()) + self.copies


def has_memory_spaces(program: str) -> bool:
    """Whether the HLO text of a program marks the arrays that are in VMEM, as programs for TPUs do."""
    return "S(1)}" in program


def hbm_traffic(program: str) -> Traffic:
    """Counts the HBM bytes of a program's entry computation; the bodies of its loops are not counted.

    Args:
      program: optimized HLO text of a program compiled for a TPU, from `Compiled.as_text()`.
    """
    computations = parse_computations(program)
    shapes: dict[str, str] = {}
    operations: collections.Counter[str] = collections.Counter()
    copies = 0
    for instruction in computations[ENTRY]:
        shapes[instruction.name] = instruction.shape
        if instruction.opcode in _COPIES:
            copies += _copied_bytes(instruction.shape)
        elif is_operation(instruction):
            read = sum(_hbm_bytes(shapes.get(operand, "")) for operand in instruction.operands)
            operations[_kind(instruction, computations)] += _hbm_bytes(instruction.shape) + read
    return Traffic(dict(operations.most_common()), copies)


def is_operation(instruction: Instruction) -> bool:
    """Whether a TPU's compute units execute an instruction; False for asynchronous copies and if it moves no data."""
    opcode = instruction.opcode
    if opcode in NO_DATA or opcode in _COPIES or opcode.endswith("-done"):
        return False
    return _CONCAT_BITCAST not in instruction.attributes


def _kind(instruction: Instruction, computations: dict[str, list[Instruction]]) -> str:
    """Returns the opcode of an HLO instruction; for a fusion, its main operation and pass: e.g. 'reduction forward'."""
    if instruction.opcode != "fusion":
        return instruction.opcode
    inner = {one.opcode for one in computations.get(instruction.called, [])}
    what = "convolution" if "convolution" in inner else "reduction" if "reduce" in inner else "elementwise"
    return f"{what} {'backward' if 'transpose(jvp' in instruction.attributes else 'forward'}"


def _in_vmem(array: Array) -> bool:
    return "S(1)" in array.layout


def _hbm_bytes(shape: str) -> int:
    return sum(array.bytes for array in arrays(shape) if not _in_vmem(array))


def _copied_bytes(shape: str) -> int:
    """Returns the HBM bytes that an asynchronous copy reads and writes.

    The first two arrays of the copy's HLO shape are its destination and its source, in either order. If only a slice
    is copied, the smaller array is this slice. A copy from HBM to HBM counts as a read and a write; reads and writes of
    VMEM are not counted.
    """
    first, second = arrays(shape)[:2]
    return min(first.bytes, second.bytes) * ((not _in_vmem(first)) + (not _in_vmem(second)))
