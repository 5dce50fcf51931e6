"""Writes and reads a pytree of numpy arrays in Orbax's format."""

import asyncio
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class _OneByOne(ocp.type_handlers.TypeHandler):
    """Reads and writes each array in a call of its own, and waits for all calls, also if some of them fail.

    Orbax itself closes its event loop as soon as one array cannot be read or written. Operations of TensorStore that
    end after that print tracebacks ("RuntimeError: Event loop is closed") to the terminal. Orbax reads arrays and
    scalars concurrently, with one handler each, so an error that one handler raised would close the loop while the
    other one still reads. Errors of reading are therefore appended to a list and not raised here.

    A mixin class: `_Arrays` and `_Scalars` combine it with Orbax's handlers of numpy arrays and of scalars.
    """

    def __init__(self, errors: list[BaseException]):
        """Takes the list to which errors of reading are appended."""
        super().__init__()
        self._errors = errors

    async def deserialize(self, infos: Sequence[Any], options: Sequence[Any] | None = None) -> list[Any]:
        options = options or [ocp.RestoreArgs()] * len(infos)
        read = super().deserialize
        return await self._collect([read([info], [option]) for info, option in zip(infos, options, strict=True)])

    async def metadata(self, infos: Sequence[Any]) -> list[Any]:
        read = super().metadata
        return await self._collect([read([info]) for info in infos])

    async def _collect(self, reads: Sequence[Any]) -> list[Any]:
        """Returns the only element of each list that the coroutines return; None for a coroutine that fails."""
        results: list[Any] = await asyncio.gather(*reads, return_exceptions=True)
        self._errors += [result for result in results if isinstance(result, BaseException)]
        return [None if isinstance(result, BaseException) else result[0] for result in results]

    async def _background_serialize(
        self, values: Sequence[np.ndarray], infos: Sequence[Any], options: Sequence[Any] | None = None
    ) -> None:
        # This overrides the method that `serialize` calls in a new thread. To override `serialize` itself, with one
        # call per array, would start one thread per array.
        options = options or [ocp.SaveArgs()] * len(infos)
        write = super()._background_serialize
        await _all(
            [write([value], [info], [option]) for value, info, option in zip(values, infos, options, strict=True)]
        )


class _Arrays(_OneByOne, ocp.type_handlers.NumpyHandler):
    pass


class _Scalars(_OneByOne, ocp.type_handlers.ScalarHandler):
    pass


async def _all(operations: Sequence[Any]) -> None:
    """Waits for coroutines; if some fail, raises the first error after all of them have ended."""
    _raise_first([result for result in await asyncio.gather(*operations, return_exceptions=True) if result is not None])


def _raise_first(errors: Sequence[Any]) -> None:
    """Raises the first error of a list, if there is one."""
    for error in errors:
        raise error


def write(directory: Path, state: Any) -> None:
    """Writes a pytree of numpy arrays to `directory`, which must exist and be empty."""
    handler = _handler([])
    handler.save(directory, args=ocp.args.PyTreeSave(state))
    handler.finalize(directory)
    handler.close()


def read(directory: Path, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Reads what `write` wrote, without communication between processes.

    Args:
      directory: the directory that was given to `write`.
      fields: top-level fields to read; None: all.

    Returns:
      Nested dicts and lists of numpy arrays.

    Raises:
      Exception: an array cannot be read. TensorStore raises plain Exception, or ValueError.
    """
    errors: list[BaseException] = []
    handler = _handler(errors)
    saved = handler.metadata(directory).tree
    _raise_first(errors)
    selected = saved if fields is None else {field: saved[field] for field in fields}
    _check_size(selected)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), selected)
    arrays = handler.restore(
        directory, args=ocp.args.PyTreeRestore(selected, restore_args=as_numpy, partial_restore=True)
    )
    _raise_first(errors)
    return arrays


def _check_size(arrays: Any) -> None:
    """Raises ValueError if arrays of these shapes and dtypes exceed the memory: damage can make a saved shape huge."""
    size = sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in jax.tree.leaves(arrays))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ValueError(f"its arrays would take {size / 1e9:,.0f} GB, more than the memory of this machine")


def _handler(errors: list[BaseException]) -> ocp.PyTreeCheckpointHandler:
    """Makes the Orbax handler that writes and reads; errors of reading are appended to `errors`."""
    # Not ocp.Checkpointer: it has a barrier across all processes, which a process that cannot read never reaches.
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, _Arrays(errors)),
        *((scalar, _Scalars(errors)) for scalar in (int, float, np.number)),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # unused, but Orbax warns if it is missing
    )
    options: dict[str, Any] = {"type_handler_registry": handlers}
    return ocp.PyTreeCheckpointHandler(**options)
