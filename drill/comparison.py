"""Whether two runs of one recipe ended alike, bit for bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_SPEEDS = ("images_per_second", "mfu", "hfu", "seconds", "share_")  # what may differ in a line of metrics begins so


def read_state(workdir: Path, step: int) -> Any:
    """The state of a checkpoint, as it was saved, of numpy arrays."""
    path, handler = (workdir / "checkpoints" / str(step) / "state").resolve(), ocp.PyTreeCheckpointHandler()
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree)
    return ocp.Checkpointer(handler).restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def differences(workdir: Path, other: Path, *, step: int) -> list[str]:
    """In what two finished runs differ, in words; an empty list: in nothing but speed."""
    found = state_differences(read_state(workdir, step), read_state(other, step))
    for part in ("step", "stop_reason", "eval", "best"):
        here, there = _result(workdir)[part], _result(other)[part]
        if here != there:
            found.append(f"result.json: {part} is {here}, not {there}")
    return found + metric_differences(_metrics(workdir), _metrics(other))


def state_differences(here: Any, there: Any) -> list[str]:
    """In what two states differ, be it only in the sign of a zero."""
    here, there = _arrays(here), _arrays(there)
    if here.keys() != there.keys():
        return ["the states have other arrays"]
    different = [name for name in here if here[name] != there[name]]
    return [f"{len(different)} arrays of the states differ, as {different[0]}"] if different else []


def _arrays(state: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of each array, by its name."""
    named = (
        (jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    )
    return {name: (str(leaf.dtype), leaf.shape, leaf.tobytes()) for name, leaf in named}


def metric_differences(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> list[str]:
    """In what the metrics of two runs differ, speeds left out."""
    if here == there:
        return []
    if [_place(line) for line in here] != [_place(line) for line in there]:
        return [f"metrics.jsonl has {len(here)} lines, not the same {len(there)} steps, each once"]
    different = [_place(line) for line, other in zip(here, there, strict=True) if line != other]
    return [f"metrics.jsonl: {len(different)} lines differ, the first is {different[0]}"]


def _place(line: dict[str, Any]) -> tuple[int, str]:
    return line["step"], line["split"]


def _result(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "result.json").read_text())


def _metrics(workdir: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if not key.startswith(_SPEEDS)} for line in lines]
