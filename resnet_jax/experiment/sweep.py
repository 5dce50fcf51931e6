"""The runs of --mode=sweep: every combination of the values of some config keys, each with every seed."""

import ast
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from resnet_jax.config_keys import check_bounds, check_may_be_none
from resnet_jax.configs.default import KEYS
from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import local_path
from resnet_jax.nested import flatten

_MOST_RUNS = 10_000
_TABLES = ("seeds", "grid")  # the top-level keys that the TOML file of a sweep may have


class Sweep(NamedTuple):
    """The runs of a sweep: each cell, a combination of values, is trained with each seed."""

    # The config changes of each combination of values, by dotted key. Results are compared to those of the first one.
    cells: list[dict[str, Any]]
    seeds: tuple[int, ...]
    launch: str | None  # command prefix: the commands of the runs are only printed; None: this process does the runs
    print_log: bool  # whether the log lines of the runs are printed
    stop_behind: float | None  # a run is stopped if its top-1 is lower by more percentage points; None: never


def make_sweep(config: ConfigDict) -> Sweep:
    """Reads the section `sweep` of the config, and checks the config of every run.

    Raises:
      UsageError: the file cannot be read, a key is unknown, or a value is not valid.
    """
    options = config.sweep
    grid, seeds = _from_words(options.grid), tuple(options.seeds)
    if options.file is not None:
        if grid:
            raise UsageError("config.sweep.grid and config.sweep.file are both given: write all values into the file")
        grid, seeds = _from_file(local_path(options.file, name="config.sweep.file"), seeds)
    if not seeds or len(set(seeds)) < len(seeds) or not all(type(seed) is int for seed in seeds):
        raise UsageError(f"config.sweep.seeds={seeds}: give different whole numbers, for example (0, 1, 2)")
    for key, values in grid.items():
        _check_key(key, values)
    cells = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(cells) * len(seeds) > _MOST_RUNS:
        raise UsageError(f"{len(cells) * len(seeds):,} runs are more than {_MOST_RUNS:,}: sweep over fewer values")
    for cell in cells:
        _check(config, cell | {"seed": seeds[0]})
    return Sweep(cells, seeds, options.launch, options.print_log, options.stop_behind)


def _from_words(words: Sequence[Any]) -> dict[str, list[Any]]:
    """Parses strings such as 'optimizer.momentum=0.9,0.8' into a dict: config key -> list of values."""
    grid = {}
    for word in words:
        key, equals, values = str(word).partition("=")
        if not equals:
            raise UsageError(f"config.sweep.grid: {word!r} is not KEY=VALUE,VALUE, as in 'optimizer.momentum=0.9,0.8'")
        # Split at commas outside of brackets: a value may be a tuple or a list.
        parts = re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|[^,])+", values)
        grid[key.removeprefix("config.")] = [_value(part.strip()) for part in parts]
    return grid


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _from_file(path: Path, seeds: tuple[int, ...]) -> tuple[dict[str, list[Any]], tuple[int, ...]]:
    """Returns the grid and the seeds in a TOML file; the argument `seeds` is returned if the file has no seeds."""
    try:
        content = tomllib.loads(read_regular(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(
            f"config.sweep.file={path} cannot be read ({reason}): give a TOML file (docs/sweep.md)"
        ) from None
    unknown = [name for name in content if name not in _TABLES]
    grid = content.get("grid", {})
    if unknown or not isinstance(grid, dict):
        wrong = f"{unknown[0]!r} is not one of {', '.join(_TABLES)}" if unknown else "'grid' is not a table"
        raise UsageError(f"config.sweep.file={path}: {wrong} (docs/sweep.md)")
    given = content.get("seeds", list(seeds))
    return flatten(grid), tuple(given) if isinstance(given, list) else (given,)


def _check_key(key: str, values: Any) -> None:
    if key not in {known.name for known in KEYS} or key == "seed" or key.startswith("sweep."):
        cure = "set config.sweep.seeds" if key == "seed" else f"--help_keys {key.rpartition('.')[2]} finds keys"
        raise UsageError(f"the sweep has {key!r}, which is not a key for a grid: {cure}")
    if not isinstance(values, list) or not values:
        raise UsageError(f"the sweep has no list of values for {key}: give several, as in [0.9, 0.8]")


def _check(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Raises UsageError if the changes are not valid values of their keys."""
    changed = config.copy_and_resolve_references()
    declared = {key.name: key for key in KEYS}
    for key, value in changes.items():
        if value is None:
            check_may_be_none(declared[key])
        try:
            changed.update_from_flattened_dict({key: tuple(value) if isinstance(value, list) else value})
        except (TypeError, ValueError) as error:
            raise UsageError(f"the sweep sets {key} to {value!r}: {' '.join(str(error).split())[:200]}") from None
    check_bounds(KEYS, flatten(changed.to_dict()))
