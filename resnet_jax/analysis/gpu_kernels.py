"""Lists the kernels of a compiled GPU program with their bytes and FLOPs, from the text of the program.

A fusion, a library call or a collective is counted as one kernel. A kernel reads each of its operands from memory and
writes its results. If it uses only slices of an operand, only the bytes of these slices are counted. Caches are not
modeled: an array that is still in the L2 cache is counted as if it were read from memory.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from resnet_jax.analysis.hlo_text import (
    NO_DATA,
    Array,
    Instruction,
    arrays,
    executed,
    parse_computations,
    size_in_bytes,
)

SMALL = 2_000_000  # a kernel that moves fewer bytes is small: an H100 moves them in 0.6 µs, less than a launch takes

_Computations = Mapping[str, Sequence[Instruction]]
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-")
_SLICES = ("slice", "dynamic-slice")


class Kernel(NamedTuple):
    """A kernel of a program, as one device executes it."""

    name: str
    kind: str  # 'convolution', 'product', 'reduction', 'scatter', 'collective', 'elementwise'; else the opcode
    bytes: int  # bytes read from and written to memory
    flops: int  # FLOPs of convolutions and matrix products; a multiply-accumulate counts as two
    precision: str  # precision of these FLOPs: 'bfloat16' (any 16-bit type), 'tf32' or 'float32'
    source: str  # the 'op_name' that JAX gives the operation: the path of functions and modules that computed it
    times: int  # number of executions in one call of the program


class KernelCounts(NamedTuple):
    """Numbers of kernels that one device executes in one call of a program."""

    kernels: int  # all kernels
    small: int  # kernels that move fewer than `SMALL` bytes
    scatters: int  # kernels that add values in an unspecified order, so that the rounded sums differ between runs


def count_kernels(kernels: Sequence[Kernel]) -> KernelCounts:
    """Counts the executions of kernels; a kernel in a loop counts once for each iteration."""
    return KernelCounts(
        kernels=sum(kernel.times for kernel in kernels),
        small=sum(kernel.times for kernel in kernels if kernel.bytes < SMALL),
        scatters=sum(kernel.times for kernel in kernels if kernel.kind == "scatter"),
    )


def gpu_kernels(program: str) -> list[Kernel]:
    """Returns the kernels of a program, given its HLO text; `times` includes the iterations of loops."""
    computations = parse_computations(program)
    by_name = {name: {one.name: one for one in body} for name, body in computations.items()}
    return [
        _kernel(instruction, by_name[owner], computations, times)
        for owner, instruction, times in executed(computations)
        if instruction.opcode not in NO_DATA and not instruction.opcode.endswith("-done")
    ]


def _kernel(
    instruction: Instruction, around: Mapping[str, Instruction], computations: _Computations, times: int
) -> Kernel:
    inside = list(_inside(instruction, computations))
    work = [(_flops(one, table), _precision(one, table)) for one, table in inside or [(instruction, around)]]
    flops = sum(count for count, _ in work)
    precisions = [precision for count, precision in work if count]
    return Kernel(
        name=instruction.name,
        kind=_kind(instruction, {one.opcode for one, _ in inside}),
        bytes=_bytes_read(instruction, around, computations) + _bytes_written(instruction, computations),
        flops=flops,
        precision=precisions[0] if precisions else "bfloat16",
        source=instruction.attribute(r'op_name="([^"]*)"'),
        times=times,
    )


def _inside(
    instruction: Instruction, computations: _Computations
) -> Iterator[tuple[Instruction, Mapping[str, Instruction]]]:
    """Yields each instruction of a fusion and its nested fusions, and the instructions of its computation by name."""
    body = computations.get(instruction.called, ())
    table = {one.name: one for one in body}
    for one in body:
        yield one, table
        yield from _inside(one, computations)


def _kind(instruction: Instruction, inner: set[str]) -> str:
    target = instruction.attribute(r'custom_call_target="([^"]*)"').lower()
    if instruction.opcode.startswith(_COLLECTIVES):
        return "collective"
    if "conv" in target or "convolution" in inner:
        return "convolution"
    if "gemm" in target or "matmul" in target or "dot" in inner or instruction.opcode == "dot":
        return "product"
    if "scatter" in inner or "select-and-scatter" in inner or instruction.opcode in ("scatter", "select-and-scatter"):
        return "scatter"
    if "reduce" in inner or "reduce-window" in inner:
        return "reduction"
    return "elementwise" if instruction.opcode == "fusion" else target or instruction.opcode


def _bytes_written(instruction: Instruction, computations: _Computations) -> int:
    if instruction.opcode == "custom-call":  # without the workspace of the library, an array of bytes among the results
        return sum(array.bytes for array in arrays(instruction.shape) if array.dtype not in ("u8", "s8"))
    if instruction.opcode.endswith("-start"):  # the shape lists operands and results: half of it is written
        return size_in_bytes(instruction.shape) // 2
    body = computations.get(instruction.called, ())
    root = next((one for one in body if one.is_root), None)
    if root and root.opcode == "dynamic-update-slice":  # in place: only the slice is written
        return size_in_bytes(next(one for one in body if one.name == root.operands[1]).shape)
    return size_in_bytes(instruction.shape)


def _bytes_read(instruction: Instruction, around: Mapping[str, Instruction], computations: _Computations) -> int:
    """Returns the bytes that an instruction reads; an array that occurs as several operands counts once."""
    body = computations.get(instruction.called, ())
    parameters = {int(one.literal): one for one in body if one.opcode == "parameter"}
    read: dict[str, int] = {}
    for number, operand in enumerate(instruction.operands):
        if operand in around:
            used = _bytes_used(parameters[number], body) if number in parameters else None
            size = size_in_bytes(around[operand].shape) if used is None else used
            buffer = _buffer(operand, around)
            read[buffer] = max(read.get(buffer, 0), size)
    return sum(read.values())


def _bytes_used(parameter: Instruction, body: Sequence[Instruction]) -> int | None:
    """Returns the bytes of the slices of a parameter that a fusion reads; None if it reads the whole parameter."""
    users = [one for one in body if parameter.name in one.operands]
    if not users or not all(
        one.opcode in _SLICES or (one.opcode == "dynamic-update-slice" and one.operands[0] == parameter.name)
        for one in users
    ):
        return None
    return sum(size_in_bytes(one.shape) for one in users if one.opcode in _SLICES)


def _buffer(name: str, around: Mapping[str, Instruction]) -> str:
    """Returns a name for the buffer that holds the result of an instruction; views of a buffer have the same name."""
    indices: list[str] = []  # indices into the nested tuples that the instruction `name` returns
    while name in around and around[name].opcode in ("bitcast", "get-tuple-element"):
        if around[name].opcode == "get-tuple-element":
            indices.insert(0, around[name].attribute(r"\bindex=(\d+)"))
        name = around[name].operands[0]
    return " ".join([name, *indices])


def _flops(instruction: Instruction, table: Mapping[str, Instruction]) -> int:
    """Returns the FLOPs of a convolution or matrix product; 0 for other instructions."""
    target = instruction.attribute(r'custom_call_target="([^"]*)"')
    if instruction.opcode == "dot":
        axes = instruction.attribute(r"lhs_contracting_dims=\{([\d,]*)\}")
        return _product_flops(instruction, table, [int(axis) for axis in axes.split(",") if axis])
    if instruction.opcode == "convolution" or "conv" in target:
        return _convolution_flops(instruction, table, target)
    if "gemm" in target or "matmul" in target:
        axes = instruction.attribute(r'"lhs_contracting_dimensions":(\[[^\]]*\])')
        return _product_flops(instruction, table, [int(axis) for axis in json.loads(axes)])
    return 0


def _product_flops(instruction: Instruction, table: Mapping[str, Instruction], contracted: Sequence[int]) -> int:
    first = _array(instruction.operands[0], table)
    return 2 * math.prod(arrays(instruction.shape)[0].lengths) * math.prod(first.lengths[axis] for axis in contracted)


def _convolution_flops(instruction: Instruction, table: Mapping[str, Instruction], target: str) -> int:
    """Returns the FLOPs of a convolution: 2 x (elements of the output) x (multiplications for each), padding included.

    In the backward passes, output, kernel and input are those of the forward convolution: cuDNN's BackwardInput maps
    (output, kernel) to the input, and BackwardFilter maps (input, output) to the kernel.
    """
    first, second = (_array(name, table) for name in instruction.operands[:2])
    own = arrays(instruction.shape)[0]
    result, kernel = own, second
    if "BackwardInput" in target:
        result = first
    elif "BackwardFilter" in target:
        result, kernel = second, own
    kernel_axes = instruction.attribute(r"dim_labels=\w+?_(\w+)->")
    each = math.prod(kernel.lengths) // kernel.lengths[kernel_axes.index("o")]
    # If the input is dilated, as in a gradient that is written as a convolution, multiplications by the zeros between
    # its pixels are not counted.
    zeros = math.prod(int(factor) for factor in re.findall(r"\d+", instruction.attribute(r"lhs_dilate=([\dx]+)")))
    return 2 * math.prod(result.lengths) * each // zeros


def _precision(instruction: Instruction, table: Mapping[str, Instruction]) -> str:
    if not instruction.operands or instruction.operands[0] not in table:
        return "bfloat16"
    if _array(instruction.operands[0], table).dtype != "f32":
        return "bfloat16"
    exact = re.search(r"operand_precision=\{highest|HIGHEST", instruction.attributes)
    return "float32" if exact else "tf32"


def _array(name: str, table: Mapping[str, Instruction]) -> Array:
    """Returns the first array of the result of the instruction `name`."""
    return arrays(table[name].shape)[0]
