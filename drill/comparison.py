"""Compares the results of two runs of one recipe, bit for bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_SPEEDS = ("images_per_second", "mfu", "hfu", "seconds", "share_")  # prefixes of the metrics that may differ


def read_state(workdir: Path, step: int) -> Any:
    """Reads the state of a checkpoint with Orbax: nested dicts and lists of numpy arrays."""
    path, handler = (workdir / "checkpoints" / str(step) / "state").resolve(), ocp.PyTreeCheckpointHandler()
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree)
    return ocp.Checkpointer(handler).restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def differences(workdir: Path, other: Path, *, step: int) -> list[str]:
    """Describes the differences of two finished runs, speed left out; an empty list: they are equal."""
    found = state_differences(read_state(workdir, step), read_state(other, step))
    for key in ("step", "stop_reason", "eval", "best"):
        value, expected = _result(workdir)[key], _result(other)[key]
        if value != expected:
            found.append(f"result.json: {key} is {value}, not {expected}")
    return found + metric_differences(_metrics(workdir), _metrics(other))


def state_differences(state: Any, other: Any) -> list[str]:
    """Describes the differences of two states. The bytes are compared, so 0.0 and -0.0 differ."""
    arrays, expected = _arrays(state), _arrays(other)
    if arrays.keys() != expected.keys():
        return ["the states have different arrays"]
    different = [name for name in arrays if arrays[name] != expected[name]]
    return [f"{len(different)} arrays of the states differ, the first is {different[0]}"] if different else []


def _arrays(state: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of each array, by its path."""
    named = (
        (jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    )
    return {name: (str(leaf.dtype), leaf.shape, leaf.tobytes()) for name, leaf in named}


def metric_differences(lines: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    """Describes the differences of two lists of metrics; speeds must have been removed."""
    if lines == expected:
        return []
    if [_key(line) for line in lines] != [_key(line) for line in expected]:
        return [f"metrics.jsonl has {len(lines)} lines, not the same {len(expected)} steps, each once"]
    different = [_key(line) for line, other in zip(lines, expected, strict=True) if line != other]
    return [f"metrics.jsonl: {len(different)} lines differ, the first is {different[0]}"]


def _key(line: dict[str, Any]) -> tuple[int, str]:
    return line["step"], line["split"]


def _result(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "result.json").read_text())


def _metrics(workdir: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if not key.startswith(_SPEEDS)} for line in lines]
