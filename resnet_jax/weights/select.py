"""Selects the weights that --mode=eval, predict and export use: a checkpoint of the run or a file."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.checksums import sha256_of_arrays
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.checkpoints.retention import Retention
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.files import is_number, numbered
from resnet_jax.local_paths import local_path
from resnet_jax.text import labelled
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights import StoredWeights, check_settings, match_variables, read_weights
from resnet_jax.weights.class_outputs import Classes, in_order_of, move_outputs, outputs_of_set

logger = logging.getLogger(__name__)

_HEAD_BIAS = "params/head/bias"


@dataclasses.dataclass(frozen=True)
class SelectedWeights:
    """The variables of a network, and where they come from.

    Attributes:
      variables: 'params' and 'batch_stats', numpy arrays.
      path: absolute path of the checkpoint or file.
      step: number of updates after which the weights were saved; None: unknown.
      kind: 'trained', or 'ema': the moving average of the trained weights; None: unknown.
      sha256: hash of `variables` (`checksums.sha256_of_arrays`), 64 hexadecimal digits.
      class_names: name of the class of each output, in order; None: unknown.
      outputs: for each output of `variables`, its index in the file; None: the outputs have the order of the file.
      statistics_images: number of training images from which batch norm statistics were computed anew; 0: they are as
        stored.
    """

    variables: dict[str, Any]
    path: str
    step: int | None
    kind: WeightsKind | None
    sha256: str
    class_names: tuple[str, ...] | None
    outputs: tuple[int, ...] | None = None
    statistics_images: int = 0


def selected_path(checkpoint: str, checkpoints: Path) -> str:
    """Returns the path of the weights that config.eval.checkpoint names: a checkpoint of the run, or another path.

    Args:
      checkpoint: 'latest', 'best' (highest evaluation top-1) or a step in digits; other values are paths of weights.
      checkpoints: directory of the checkpoints of the run.

    Raises:
      UsageError: the run has no such checkpoint.
    """
    if checkpoint and checkpoint not in ("latest", "best") and not is_number(checkpoint):
        return checkpoint
    steps = numbered(checkpoints)
    found = {"latest": lambda: max(steps, default=None), "best": lambda: _best(checkpoints, steps)}
    step = found[checkpoint]() if checkpoint in found else int(checkpoint or -1)
    if step in steps:
        return str(checkpoints / str(step))
    existing = f"which has {', '.join(map(str, steps))}" if steps else "which has none"
    raise UsageError(
        f"no checkpoint {checkpoint!r} in {checkpoints}, {existing}: set config.eval.checkpoint to latest, best, a "
        "step or the path of weights"
    )


def read_selected(checkpoint: str, checkpoints: Path, *, kind: WeightsKind | None) -> StoredWeights:
    """Reads the weights at the path that `selected_path` returns, with `read_weights`; see both."""
    path = selected_path(checkpoint, checkpoints)
    log_choice(checkpoint, checkpoints)
    return read_weights(path, kind=kind)


def log_choice(checkpoint: str, checkpoints: Path) -> None:
    """If `checkpoint` is 'latest' or 'best', logs the step that it stands for, and that of the other word."""
    steps = numbered(checkpoints)
    # `steps` can be empty: on a shared file system this process may not yet see checkpoints that process 0 has found.
    if checkpoint not in ("latest", "best") or not steps:
        return
    latest, best = max(steps), _best(checkpoints, steps)
    if best is None:
        text = f"{latest}, the latest; none was evaluated"
    elif best == latest:
        text = f"{latest}, the latest and the one with the highest top-1"
    elif checkpoint == "latest":
        text = f"{latest}, the latest; {best} has the highest top-1 (eval.checkpoint=best)"
    else:
        text = f"{best}, with the highest top-1; {latest} is the latest (eval.checkpoint=latest)"
    logger.info(labelled("checkpoint", text))


def select_weights(
    stored: StoredWeights, shapes: dict[str, Any], *, network: Mapping[str, Any], any_input: bool = False
) -> SelectedWeights:
    """Checks that weights fit a network, last layer included, and logs from which file they are.

    Args:
      stored: the weights.
      shapes: 'params' and 'batch_stats' of the network, as shapes or arrays.
      network: settings of the network, config key -> value for all `NETWORK_KEYS`.
      any_input: see `check_settings`.

    Raises:
      UsageError: the weights are of another network, or were trained with another padding or normalization.
    """
    check_settings(stored, network, any_input=any_input)
    matched = match_variables(stored, shapes, head=True, allow_missing=())
    logger.info(labelled("weights", f"{stored.path}, {stored.format}"))
    for line in matched.report:
        logger.log(logging.INFO if line.startswith("reshaped") else logging.DEBUG, "%s", line)
    return SelectedWeights(
        variables=matched.variables,
        path=stored.path,
        step=stored.step,
        kind=stored.kind,
        sha256=sha256_of_arrays(matched.variables),
        class_names=stored.class_names,
    )


def with_outputs_in_order_of(selected: SelectedWeights, classes: Classes) -> SelectedWeights:
    """Reorders the outputs of weights that store no class names, so that output k belongs to class k of the data.

    Raises:
      UsageError: raised by `class_outputs.in_order_of`.
    """
    variables, outputs = in_order_of(classes, selected.variables, path=selected.path)
    return dataclasses.replace(selected, variables=variables, outputs=outputs)


def with_outputs_of_set(
    selected: SelectedWeights, stored: StoredWeights, class_names: Sequence[str], *, set_name: str
) -> SelectedWeights:
    """Reorders the outputs so that those of the evaluation set's classes come first, in the order of these classes.

    See `class_outputs.outputs_of_set`.
    """
    known = selected.class_names
    if known is None and stored.class_list == fingerprint(synsets()):
        known = synsets()
    elif known is None and stored.class_list == fingerprint(class_names):
        known = tuple(class_names)
    elif known is None and stored.class_list is not None:
        known = ()  # only the hash of the class list is stored: the names of the classes cannot be found from it
    first = outputs_of_set(
        class_names,
        known,
        selected.variables["params"]["head"]["bias"].shape[0],
        set_name=set_name,
        path=selected.path,
    )
    variables, outputs = move_outputs(selected.variables, first)
    return dataclasses.replace(selected, variables=variables, outputs=outputs)


def outputs_and_names(
    stored: StoredWeights, *, num_classes: int | None, class_names_file: str | None
) -> tuple[int, tuple[str, ...]]:
    """Returns the number of outputs of the network, and a class name for each output.

    Args:
      stored: the weights, which may contain class names.
      num_classes: number of outputs; None: the number of names in `class_names_file` or, without that file, the
        number of outputs of the weights.
      class_names_file: see `read_class_names`; None: the names stored with the weights, or 'class 0', 'class 1', ...

    Raises:
      UsageError: the file has other names than are stored with the weights, or not one name for each output.
    """
    given = read_class_names(class_names_file) if class_names_file else None
    if given and stored.class_names:
        check_same(stored.class_names, given, owner=stored.path, what=f"config.model.class_names={class_names_file}")
    elif given and stored.class_list not in (None, fingerprint(given)):
        raise UsageError(
            f"config.model.class_names={class_names_file} differs from the classes that {stored.path} was trained on, "
            "or lists them in another order: name the file with the classes of these weights"
        )
    if _HEAD_BIAS not in stored.arrays:
        raise UsageError(f"{stored.path} has no last layer: train one with --config.model.init_from, then use that run")
    outputs = num_classes or (len(given) if given else len(stored.arrays[_HEAD_BIAS]))
    if given and len(given) != outputs:
        raise UsageError(
            f"config.model.class_names={class_names_file} has {len(given)} names for {outputs} outputs: "
            "set config.model.num_classes, or name another file"
        )
    trained = len(stored.arrays[_HEAD_BIAS])
    if outputs not in (trained, trained - stored.has_background):
        raise UsageError(
            f"{stored.path} has {trained} classes, not {outputs}: name a file of {trained} names, or leave "
            "config.model.num_classes unset"
        )
    names = given or stored.class_names or ()
    return outputs, (*names[:outputs], *(f"class {number}" for number in range(len(names), outputs)))


def read_class_names(path: str) -> tuple[str, ...]:
    """Reads class names from a file, in order: a JSON list, or one name per line.

    Raises:
      UsageError: the file cannot be read, has no names or has an empty name.
    """
    try:
        text = read_regular(local_path(path, name="config.model.class_names")).decode("utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"config.model.class_names={path} cannot be read ({error}): name another file") from None
    names = tuple(str(name).strip() for name in names)
    if text.lstrip().startswith("{"):
        raise UsageError(
            f"config.model.class_names={path} is a JSON object: name a file with a list, or with one name per line"
        )
    if not names or "" in names:
        raise UsageError(f"config.model.class_names={path} is empty or has an empty name: give each class a name")
    return names


def _best(directory: Path, steps: list[int]) -> int | None:
    """Returns the step with the highest evaluation top-1; None if no checkpoint was evaluated."""
    top1: dict[int, float | None] = {}
    for step in steps:
        with contextlib.suppress(DamagedError):
            _, top1[step] = files.read_meta(directory / str(step))
    best = Retention(top1, unreadable=(), keep_latest=1, keep_best=1).best
    return best[0] if best else None
