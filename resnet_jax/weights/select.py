"""The weights that are evaluated, used for predictions or exported."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.checksums import sha256_of_arrays
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.checkpoints.retention import Retention
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights import StoredWeights, check_settings, match_variables, read_weights

logger = logging.getLogger(__name__)

_HEAD_BIAS = "params/head/bias"


@dataclasses.dataclass(frozen=True)
class SelectedWeights:
    """Weights, and where they are from.

    Attributes:
      variables: 'params' and 'batch_stats', numpy arrays.
      path: of the checkpoint or file.
      step: of the run that made them; None: unknown.
      kind: 'trained', or 'ema' for their moving average; None: unknown.
      sha256: 64 hexadecimal digits, of the variables as they are here (`checksums.sha256_of_arrays`).
      class_names: of the run that made them; None: unknown.
    """

    variables: dict[str, Any]
    path: str
    step: int | None
    kind: WeightsKind | None
    sha256: str
    class_names: tuple[str, ...] | None


def selected_path(checkpoint: str, checkpoints: Path) -> str:
    """Where the weights are: one of the checkpoints of a run, or what a path names.

    Args:
      checkpoint: 'latest', 'best' by evaluation top-1, a step in digits; else a path, as `model.init_from`.
      checkpoints: the directory of the checkpoints of the run.

    Raises:
      UsageError: there is no such checkpoint.
    """
    if checkpoint and checkpoint not in ("latest", "best") and not checkpoint.isdigit():
        return checkpoint
    steps = sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdigit())
    found = {"latest": lambda: max(steps, default=None), "best": lambda: _best(checkpoints, steps)}
    step = found[checkpoint]() if checkpoint in found else int(checkpoint or -1)
    if step in steps:
        return str(checkpoints / str(step))
    there = f"there are {', '.join(map(str, steps))}" if steps else "there are none"
    raise UsageError(
        f"no checkpoint {checkpoint!r} in {checkpoints}: {there}; config.eval.checkpoint is latest, best, "
        "a step or the path of weights"
    )


def read_selected(checkpoint: str, checkpoints: Path, *, kind: WeightsKind | None) -> StoredWeights:
    """Reads the weights at `selected_path`; raises as it and `read_weights`."""
    return read_weights(selected_path(checkpoint, checkpoints), kind=kind)


def select_weights(
    stored: StoredWeights, shapes: dict[str, Any], *, network: Mapping[str, Any], any_input: bool = False
) -> SelectedWeights:
    """Makes sure that weights are those of a network.

    Args:
      stored: as `read_selected` has them.
      shapes: of its 'params' and 'batch_stats'.
      network: what it is and is given (`network_settings`).
      any_input: see `check_settings`.

    Raises:
      UsageError: they are of another one, or were trained with other input.
    """
    check_settings(stored, network, any_input=any_input)
    filled = match_variables(stored, shapes, head=True, allow_missing=())
    logger.info("weights      %s, %s", stored.path, stored.format)
    for line in filled.report:
        logger.log(logging.INFO if line.startswith("reshaped") else logging.DEBUG, "%s", line)
    variables = filled.variables
    return SelectedWeights(
        variables=variables,
        path=stored.path,
        step=stored.step,
        kind=stored.kind,
        sha256=sha256_of_arrays(variables),
        class_names=stored.class_names,
    )


def outputs_and_names(
    stored: StoredWeights, *, num_classes: int | None, class_names_file: str | None
) -> tuple[int, tuple[str, ...]]:
    """How many outputs the network is to have, and what they are called.

    Args:
      stored: weights; those of a run know the names of its classes.
      num_classes: outputs; None: as many as there are names in the file, else as the weights have.
      class_names_file: see `read_class_names`; None: the names that the weights know, else numbers.

    Raises:
      UsageError: the names are not those of the weights, or not as many as the outputs.
    """
    given = read_class_names(class_names_file) if class_names_file else None
    if given and stored.class_names:
        check_same(stored.class_names, given, owner=stored.path, what=f"config.model.class_names={class_names_file}")
    elif given and stored.class_list not in (None, fingerprint(given)):
        raise UsageError(
            f"config.model.class_names={class_names_file} is not the list of classes, or not in the order, that "
            f"{stored.path} was trained on: name its own file"
        )
    if _HEAD_BIAS not in stored.arrays:
        raise UsageError(f"{stored.path} has no last layer: train one with config.model.init_from, and name that run")
    outputs = num_classes or (len(given) if given else len(stored.arrays[_HEAD_BIAS]))
    if given and len(given) != outputs:
        raise UsageError(
            f"config.model.class_names={class_names_file} has {len(given)} names for {outputs} outputs: "
            "set config.model.num_classes, or name another file"
        )
    there = len(stored.arrays[_HEAD_BIAS])
    if outputs not in (there, there - stored.has_background):
        raise UsageError(
            f"{stored.path} has {there} classes, not {outputs}: name a file of {there} names, or leave "
            "config.model.num_classes unset"
        )
    names = given or stored.class_names or ()
    return outputs, (*names[:outputs], *(f"class {number}" for number in range(len(names), outputs)))


def read_class_names(path: str) -> tuple[str, ...]:
    """Reads the names of classes, in order, of a file: a JSON list, or a name a line.

    Raises:
      UsageError: it cannot be read, or holds no names.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"config.model.class_names={path} cannot be read ({error}): name another file") from None
    names = tuple(str(name).strip() for name in names)
    if text.lstrip().startswith("{"):
        raise UsageError(f"config.model.class_names={path} is a JSON object: name a file with a list, or a name a line")
    if not names or "" in names:
        raise UsageError(f"config.model.class_names={path} has no name on some line: give each class one")
    return names


def _best(directory: Path, steps: list[int]) -> int | None:
    """The step with the highest evaluation top-1; None if none was evaluated."""
    top1: dict[int, float | None] = {}
    for step in steps:
        with contextlib.suppress(DamagedError):
            _, top1[step] = files.read_meta(directory / str(step))
    best = Retention(top1, unreadable=(), keep_latest=1, keep_best=1).best
    return best[0] if best else None
