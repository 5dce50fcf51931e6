"""What devices exchange in a compiled program, read from its text."""

import math
import re
from typing import NamedTuple

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# The shape of a result has neither quotes nor names of operands, so that nothing but an operation itself is found;
# its '-done' half, where it has two, adds nothing.
_OPERATION = re.compile(rf'= ([^"%]*?) ({"|".join(_KINDS)})(-start)?\(')
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")  # as bf16[3,3,64,64]
_COMMENT = re.compile(r"/\*.*?\*/")
_OPENING, _CLOSING = "([{", ")]}"


class Collectives(NamedTuple):
    """All operations of one kind."""

    operations: int
    bytes: int  # of their results, on one device


def find_collectives(program: str) -> dict[str, Collectives]:
    """Counts the collective operations of a program by kind, each as often as it stands there: once if in a loop.

    Args:
      program: the HLO text of one device's part, as `Compiled.as_text()` gives it.
    """
    found: dict[str, Collectives] = {}
    for line in program.splitlines():
        match = _OPERATION.search(_COMMENT.sub("", line))
        if match:
            shape, kind, started = match.groups()
            result = _of_started(shape, kind) if started else shape
            count, size = found.get(kind, Collectives(0, 0))
            found[kind] = Collectives(count + 1, size + _size(result))
    return found


def _of_started(shape: str, kind: str) -> str:
    """The result within the shape of a '-start' operation, which may hold the operands before it."""
    elements = _elements(shape)
    operands_first = kind != "all-reduce" or elements[0].startswith("(")
    return elements[1] if operands_first else shape


def _elements(shape: str) -> list[str]:
    """'(f32[2]{0}, (f32[4]{0}, u32[]))' -> ['f32[2]{0}', '(f32[4]{0}, u32[])']; an array has itself alone."""
    if not shape.startswith("("):
        return [shape]
    elements, depth = [""], 0
    for character in shape[1:-1]:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            elements.append("")
        else:
            elements[-1] += character
    return [element.strip() for element in elements]


def _size(shape: str) -> int:
    """Bytes of all arrays of a shape."""
    return sum(_array_size(*array) for array in _ARRAY.findall(shape))


def _array_size(letters: str, digits: str, dimensions: str) -> int:
    bits = 8 if letters == "pred" else int(digits or 0)  # f8e4m3fn has 8; a token is nothing
    return bits * math.prod(int(length) for length in dimensions.split(",") if length) // 8
