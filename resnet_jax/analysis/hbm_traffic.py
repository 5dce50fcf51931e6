"""What a compiled TPU program moves through the memory outside of the chip, read from its text.

XLA's own 'bytes accessed' adds up what its operations read and write wherever that lies: a tensor that is copied into
the memory on the chip beforehand counts three or four times, and again when it is used (docs/performance.md). Here it
counts once, when it crosses the border.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")  # as bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)}
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_NOTHING_MOVES = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "opt-barrier"),
    *("while", "conditional", "call"),
}
_COPIES = {"copy-start", "slice-start"}  # by the DMA engines, while other operations go on
_NAME_OF_NOTHING = "ConcatBitcast"  # of slices that were copied one after the other into one place


class Traffic(NamedTuple):
    """Bytes that cross the border of the chip."""

    operations: dict[str, int]  # by kind: convolutions forward and backward, the rest
    copies: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.operations.values()) + self.copies


def has_chip_memory(program: str) -> bool:
    """Whether a program says what lies on the chip, as those of TPUs do."""
    return "S(1)}" in program


def hbm_traffic(program: str) -> Traffic:
    """Adds up the entry computation.

    Args:
      program: optimised HLO of a TPU, as `Compiled.as_text()` gives it; loops are counted as nothing.
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
            copies += _copied(shape)
        elif kind not in _NOTHING_MOVES and not kind.endswith("-done") and _NAME_OF_NOTHING not in line:
            operands = re.findall(r"%([\w.\-]+)", rest.split("), ", 1)[0])
            moved = _outside(shape) + sum(_outside(shapes.get(operand, "")) for operand in operands)
            operations[_kind(kind, line, bodies)] += moved
    return Traffic(dict(operations.most_common()), copies)


def _computations(program: str) -> dict[str, list[str]]:
    """The lines of each computation by its name; the main one is 'ENTRY'."""
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
    if kind != "fusion":
        return kind
    called = re.search(r"calls=%?([\w.\-]+)", line)
    body = "\n".join(bodies.get(called.group(1), [])) if called else ""
    what = "convolution" if " convolution(" in body else "reduction" if " reduce(" in body else "elementwise"
    return f"{what} {'backward' if 'transpose(jvp' in line else 'forward'}"


def _arrays(shape: str) -> Iterator[tuple[int, bool]]:
    """Bytes of each array of a shape, and whether it lies on the chip."""
    for kind, lengths, layout in _ARRAY.findall(shape):
        if kind in _BYTES:
            size = _BYTES[kind] * math.prod(int(length) for length in lengths.split(",") if length)
            yield size, "S(1)" in layout


def _outside(shape: str) -> int:
    return sum(size for size, on_chip in _arrays(shape) if not on_chip)


def _copied(shape: str) -> int:
    """Of (to, from, ...) or ((from), to, ...): what is copied is no larger than either side."""
    (first, first_on_chip), (second, second_on_chip) = list(_arrays(shape))[:2]
    return min(first, second) * ((not first_on_chip) + (not second_on_chip))
