"""Writes and reads a pytree of numpy arrays in Orbax's format."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class _OneByOne(ocp.type_handlers.TypeHandler):
    """Reads and writes each array in a call of its own, and waits for all calls before it raises the first error.

    Orbax itself closes its event loop as soon as one array cannot be read or written. Operations of TensorStore that
    end after that print tracebacks ("RuntimeError: Event loop is closed") to the terminal.

    A mixin class: `_Arrays` and `_Scalars` combine it with Orbax's handlers of numpy arrays and of scalars.
    """

    async def deserialize(self, infos: Sequence[Any], options: Sequence[Any] | None = None) -> list[np.ndarray]:
        options = options or [ocp.RestoreArgs()] * len(infos)
        read = super().deserialize
        return await _all_results([read([info], [option]) for info, option in zip(infos, options, strict=True)])

    async def metadata(self, infos: Sequence[Any]) -> list[Any]:
        read = super().metadata
        return await _all_results([read([info]) for info in infos])

    async def _background_serialize(
        self, values: Sequence[np.ndarray], infos: Sequence[Any], options: Sequence[Any] | None = None
    ) -> None:
        # The public `serialize` starts a thread in which this method writes; one call of it per array would start a
        # thread per array.
        options = options or [ocp.SaveArgs()] * len(infos)
        write = super()._background_serialize
        await _all(
            [write([value], [info], [option]) for value, info, option in zip(values, infos, options, strict=True)]
        )


class _Arrays(_OneByOne, ocp.type_handlers.NumpyHandler):
    pass


class _Scalars(_OneByOne, ocp.type_handlers.ScalarHandler):
    pass


async def _all_results(reads: Sequence[Any]) -> list[Any]:
    """Returns the only element of each list that the coroutines `reads` return, after all of them have ended."""
    return [array for [array] in await _all(reads)]


async def _all(operations: Sequence[Any]) -> list[Any]:
    """Returns the results of coroutines; if some fail, raises the first error after all of them have ended."""
    results: list[Any] = await asyncio.gather(*operations, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def write(directory: Path, state: Any) -> None:
    """Writes a pytree of numpy arrays to `directory`, which must exist and be empty."""
    handler = _handler()
    handler.save(directory, args=ocp.args.PyTreeSave(state))
    handler.finalize(directory)
    handler.close()


def read(directory: Path, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Reads what `write` wrote, without communication between processes.

    Args:
      directory: the argument of `write`.
      fields: top-level fields to read; None: all.

    Returns:
      Nested dicts and lists of numpy arrays.

    Raises:
      Exception: an array cannot be read. TensorStore raises errors of type Exception itself, or of ValueError.
    """
    handler = _handler()
    saved = handler.metadata(directory).tree
    selected = saved if fields is None else {field: saved[field] for field in fields}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), selected)
    return handler.restore(
        directory, args=ocp.args.PyTreeRestore(selected, restore_args=as_numpy, partial_restore=True)
    )


def _handler() -> ocp.PyTreeCheckpointHandler:
    # Not ocp.Checkpointer: it has a barrier across all processes, which a process that cannot read never reaches.
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, _Arrays()),
        *((scalar, _Scalars()) for scalar in (int, float, np.number)),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # Orbax warns where it is missing; `write` stores none
    )
    options: dict[str, Any] = {"type_handler_registry": handlers}
    return ocp.PyTreeCheckpointHandler(**options)
