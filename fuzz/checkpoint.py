"""Target 'checkpoint': a checkpoint with a changed file is read as it was saved, or is damaged; nothing is printed."""

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.checkpoints import checksums, files
from resnet_jax.errors import UsageError

_META = {"step": 3, "evaluation": {"top1": 0.5}}


def inputs() -> SearchStrategy[tuple[str, bytes]]:
    """Returns a strategy for the name and the new content of a file of the checkpoint."""
    contents = _contents()
    changed = [strategies.tuples(strategies.just(name), damaged([content])) for name, content in contents.items()]
    scalars = strategies.one_of(strategies.none(), strategies.booleans(), strategies.integers(), strategies.text())
    values = strategies.recursive(
        strategies.one_of(scalars, strategies.floats()),
        lambda part: strategies.one_of(
            strategies.lists(part, max_size=3), strategies.dictionaries(strategies.text(), part, max_size=3)
        ),
    )
    names = strategies.sampled_from(["step", "top1", "checksums", "own_step", "own_checksum", "evaluation"])
    others = strategies.dictionaries(names, values, max_size=3)
    return strategies.one_of(*changed, strategies.tuples(strategies.just(files.META), others.map(_with_values)))


def check(changed: tuple[str, bytes]) -> None:
    """Reads the checkpoint with one other file."""
    name, content = changed
    with tempfile.TemporaryDirectory() as directory, silent():
        path = Path(shutil.copytree(_whole(), Path(directory, "3")))
        (path / name).write_bytes(content)
        try:
            meta, top1 = files.read_meta(path)
            state = files.read(path)
        except (files.DamagedError, UsageError) as error:
            check_message(error)
            return
    assert top1 is None or type(top1) in (int, float)
    assert isinstance(meta, dict)
    jax.tree.map(np.testing.assert_array_equal, state, _state())


def _with_values(values: dict[str, Any]) -> bytes:
    """Returns the JSON of the checkpoint with other values, and the checksum that belongs to them."""
    content = json.loads(_contents()[files.META]) | values
    if "own_checksum" not in values:
        del content["own_checksum"]
        content["own_checksum"] = checksums.of_json(content)
    return json.dumps(content).encode()


def _state() -> dict[str, Any]:
    noise = np.random.default_rng(0)
    return {
        "params": {"w": noise.normal(size=(20, 30)).astype(np.float32)},
        "opt_state": [{"v": np.zeros(5, np.float32)}],
        "step": np.int32(3),
    }


@functools.cache
def _whole() -> Path:
    """Saves the checkpoint that is damaged; returns its path."""
    path = Path(tempfile.mkdtemp(), "3")
    files.write(path, _state(), _META, top1=0.5)
    return path


@functools.cache
def _contents() -> dict[str, bytes]:
    """Returns the content of each file of the checkpoint, by its path in the checkpoint."""
    whole = (path for path in sorted(_whole().rglob("*")) if path.is_file())
    return {str(path.relative_to(_whole())): path.read_bytes() for path in whole}


TARGET = Target(inputs, check)
