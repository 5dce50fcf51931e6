"""Parses the text of a compiled program, XLA's optimized HLO, into computations and instructions."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Matches e.g. '  ROOT %add.1 = (f32[64]{0}, bf16[8,64]{1,0:T(8,128)}) fusion(' and captures name, shape and opcode.
_INSTRUCTION = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
# Matches e.g. bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)} and captures type, lengths and layout.
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_BITS = {"pred": 8, "s4": 4, "u4": 4}  # bits of an element; the names of other types contain this number

ENTRY = "ENTRY"  # name under which `parse_computations` lists the computation at which the program begins

# Opcodes of instructions that move no data themselves. Some of them call a computation, whose instructions move data.
NO_DATA = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "opt-barrier", "partition-id"),
    *("replica-id", "while", "conditional", "call"),
}


class Array(NamedTuple):
    """An array of an HLO shape."""

    dtype: str  # HLO's name, for example 'bf16'
    lengths: tuple[int, ...]
    layout: str  # the text between the braces, for example '3,2,1,0:T(8,128)'

    @property
    def bytes(self) -> int:
        """Size in bytes; 0 for types without a size, such as 'token'."""
        digits = re.search(r"\d+", self.dtype)  # the first digits of 'f8e4m3fn' are the bits
        bits = _BITS.get(self.dtype, int(digits[0]) if digits else 0)
        return bits * math.prod(self.lengths) // 8


class Instruction(NamedTuple):
    """An instruction of an HLO computation: one line of the text."""

    name: str
    shape: str  # HLO shape of the result, an array or a tuple
    opcode: str
    operands: tuple[str, ...]  # names of instructions of the same computation
    attributes: str  # the rest of the line, after the operands
    is_root: bool  # whether the result of the instruction is the result of its computation
    literal: str  # the text between the parentheses; for a parameter, this is its number

    def attribute(self, pattern: str) -> str:
        """Returns the first group of a regular expression searched in the attributes; '' if it is not found."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else ""

    @property
    def called(self) -> str:
        """Name of the computation of a fusion; '' for other instructions."""
        return self.attribute(r"\bcalls=%?([\w.\-]+)")


def arrays(shape: str) -> list[Array]:
    """Returns the arrays of an HLO shape in order, nested tuples flattened."""
    return [
        Array(dtype, tuple(int(length) for length in lengths.split(",") if length), layout)
        for dtype, lengths, layout in _ARRAY.findall(shape)
    ]


def size_in_bytes(shape: str) -> int:
    """Returns the size of all arrays of an HLO shape."""
    return sum(array.bytes for array in arrays(shape))


def parse_computations(program: str) -> dict[str, list[Instruction]]:
    """Returns name -> instructions for the computations of a program. The entry computation has the name `ENTRY`."""
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in program.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            current = found[ENTRY if header[1] else header[2]] = []
        elif instruction := _parse(line):
            current.append(instruction)
    return found


def executed(computations: Mapping[str, Sequence[Instruction]]) -> Iterator[tuple[str, Instruction, int]]:
    """Yields the instructions that a program executes, computation by computation.

    The instructions in the bodies of loops and in the computations of `call` are yielded too. Those in fusions are not,
    since a fusion is one operation. If XLA does not know the number of iterations of a loop, one iteration is assumed.

    Yields:
      The name of the computation, the instruction, and how many times it is executed in one call of the program.
    """
    pending = [(ENTRY, 1)]
    while pending:
        name, times = pending.pop()
        for instruction in computations[name]:
            yield name, instruction, times
            if instruction.opcode == "while":
                trips = instruction.attribute(r'"known_trip_count":\{"n":"(\d+)"')
                pending.append((instruction.attribute(r"\bbody=%?([\w.\-]+)"), times * int(trips or 1)))
            elif instruction.opcode == "call":
                pending.append((instruction.attribute(r"\bto_apply=%?([\w.\-]+)"), times))


def _parse(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if not match:
        return None
    root, name, shape, opcode = match.groups()
    end = _closing_parenthesis(line, match.end())
    inside = line[match.end() : end]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, shape, opcode, operands, line[end + 1 :], bool(root), inside)


def _closing_parenthesis(line: str, start: int) -> int:
    """Returns the index of the parenthesis that closes the one just before `start`; len(line) if none closes it."""
    depth = 1
    for match in re.compile(r"[()]").finditer(line, start):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    return len(line)
