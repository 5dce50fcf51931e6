"""Counts the collective operations of a compiled program, from its text."""

import math
import re
from typing import NamedTuple

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# Matches '= SHAPE OPCODE(', e.g. '= f32[64] all-reduce('. SHAPE has no quotes and no '%', so metadata does not match.
# An asynchronous operation matches once, at its '-start' and not at its '-done'.
_OPERATION = re.compile(rf'= ([^"%]*?) ({"|".join(_KINDS)})(-start)?\(')
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")  # e.g. bf16[3,3,64,64]
_COMMENT = re.compile(r"/\*.*?\*/")
_OPENING, _CLOSING = "([{", ")]}"


class Collectives(NamedTuple):
    """The collective operations of one kind in a program."""

    operations: int  # number of operations in the text of the program
    bytes: int  # total size of their results on one device


def find_collectives(program: str) -> dict[str, Collectives]:
    """Counts the collective operations of a program by kind; one inside a loop is counted once.

    Args:
      program: HLO text of the partitioned program, from `Compiled.as_text()`.
    """
    found: dict[str, Collectives] = {}
    for line in program.splitlines():
        match = _OPERATION.search(_COMMENT.sub("", line))
        if match:
            shape, kind, started = match.groups()
            result = _result_of_start(shape, kind) if started else shape
            count, size = found.get(kind, Collectives(0, 0))
            found[kind] = Collectives(count + 1, size + _size(result))
    return found


def _result_of_start(shape: str, kind: str) -> str:
    """Returns the shape of the result of an asynchronous collective, given the shape of its '-start' instruction.

    The shape of a '-start' instruction may be a tuple of the operands and the results.
    """
    elements = _elements(shape)
    operands_first = kind != "all-reduce" or elements[0].startswith("(")
    return elements[1] if operands_first else shape


def _elements(shape: str) -> list[str]:
    """Splits a tuple shape: '(f32[2]{0}, (f32[4]{0}, u32[]))' -> ['f32[2]{0}', '(f32[4]{0}, u32[])'].

    The shape of a single array is returned as a list of one element.
    """
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
    """Returns the size in bytes of all arrays of an HLO shape."""
    return sum(_array_size(*array) for array in _ARRAY.findall(shape))


def _array_size(letters: str, digits: str, dimensions: str) -> int:
    bits = 8 if letters == "pred" else int(digits or 0)  # 'f8e4m3fn' has the digits '8', 'token' has none: 0 bits
    return bits * math.prod(int(length) for length in dimensions.split(",") if length) // 8
