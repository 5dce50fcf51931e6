"""Counts the bytes that a compiled TPU program reads from and writes to HBM, from the text of the program.

XLA's own figure, 'bytes accessed', adds up the operands and results of all operations, in HBM or in on-chip memory
(VMEM). In it, a tensor that is prefetched into VMEM counts three or four times, and again when it is used
(docs/performance.md). This module counts each transfer to or from HBM once.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
# Matches e.g. bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)}; S(1) marks VMEM.
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_NO_TRAFFIC = {
    "parameter",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "constant",
    "after-all",
    "opt-barrier",
    "while",
    "conditional",
    "call",
}
_COPIES = {"copy-start", "slice-start"}  # asynchronous transfers by the DMA engines
_CONCAT_BITCAST = "ConcatBitcast"  # joins slices that are already adjacent in memory, so it moves no bytes


class Traffic(NamedTuple):
    """Bytes read from and written to HBM by one device in one call."""

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
    bodies = _computations(program)
    shapes: dict[str, str] = {}
    operations: collections.Counter[str] = collections.Counter()
    copies = 0
    for line in bodies["ENTRY"]:
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        name, shape, kind, rest = match.groups()
        shapes[name] = shape
        if kind in _COPIES:
            copies += _copied_bytes(shape)
        elif kind not in _NO_TRAFFIC and not kind.endswith("-done") and _CONCAT_BITCAST not in line:
            operands = re.findall(r"%([\w.\-]+)", rest.split("), ", 1)[0])
            moved = _hbm_bytes(shape) + sum(_hbm_bytes(shapes.get(operand, "")) for operand in operands)
            operations[_kind(kind, line, bodies)] += moved
    return Traffic(dict(operations.most_common()), copies)


def _computations(program: str) -> dict[str, list[str]]:
    """Returns the lines of each computation of a program by its name; the entry computation is named 'ENTRY'."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in program.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{", line)
        if header:
            lines = found["ENTRY" if header.group(1) else header.group(2)] = []
        else:
            lines.append(line)
    return found


def _kind(kind: str, line: str, bodies: dict[str, list[str]]) -> str:
    """Returns the opcode of an HLO instruction; for a fusion, its main operation and pass: 'convolution backward'."""
    if kind != "fusion":
        return kind
    called = re.search(r"calls=%?([\w.\-]+)", line)
    body = "\n".join(bodies.get(called.group(1), [])) if called else ""
    what = "convolution" if " convolution(" in body else "reduction" if " reduce(" in body else "elementwise"
    return f"{what} {'backward' if 'transpose(jvp' in line else 'forward'}"


def _arrays(shape: str) -> Iterator[tuple[int, bool]]:
    """Yields the size in bytes of each array of an HLO shape, and whether the array is in VMEM."""
    for kind, lengths, layout in _ARRAY.findall(shape):
        if kind in _BYTES:
            size = _BYTES[kind] * math.prod(int(length) for length in lengths.split(",") if length)
            yield size, "S(1)" in layout


def _hbm_bytes(shape: str) -> int:
    return sum(size for size, in_vmem in _arrays(shape) if not in_vmem)


def _copied_bytes(shape: str) -> int:
    """Returns the HBM bytes that an asynchronous copy reads and writes.

    The first two arrays of the copy's HLO shape are its destination and its source, in either order. If only a slice
    is copied, the smaller of the two has its size. A read from HBM and a write to HBM count separately; a read or write
    of VMEM does not count.
    """
    (first, first_in_vmem), (second, second_in_vmem) = list(_arrays(shape))[:2]
    return min(first, second) * ((not first_in_vmem) + (not second_in_vmem))
