"""Finds which output of a network stands for which class of the data, for weights that do not name their classes."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data.imagenet_classes import labels, synsets
from resnet_jax.errors import UsageError
from resnet_jax.text import labelled, printable

logger = logging.getLogger(__name__)

ORDER, NUMBER = "order", "number"  # the values of config.model.class_outputs besides None
_SHOWN = 3  # classes listed in a message


class Classes(NamedTuple):
    """The classes of the data, and the rule by which each gets an output of a network."""

    names: Sequence[str]  # names of the classes, in the order of the labels
    outputs: str | None = None  # the argument `chosen` of `class_outputs`, for weights without class names


def class_outputs(class_names: Sequence[str], num_outputs: int, *, chosen: str | None, path: str) -> tuple[int, ...]:
    """Returns for each class of the data the number of its output; logs the numbers unless class k has output k.

    The rule if `chosen` is None: if the network has 1,000 outputs and all class names are WordNet IDs of ImageNet such
    as n01440764, each class has the output of that class of ImageNet. Otherwise class k has output k, if there are as
    many classes as outputs and the class names are not the numbers of the outputs in another order.

    Args:
      class_names: names of the classes of the data, in the order of the labels.
      num_outputs: number of outputs of the network, at least the number of classes.
      chosen: 'order': class k has output k; 'number': the name of a class is the number of its output; None: by the
        rule above.
      path: path of the weights, for messages.

    Raises:
      UsageError: `chosen` is another value, or it is None and the rule finds no output; the message lists both choices.
    """
    in_order, numbers = tuple(range(len(class_names))), _numbers(class_names, num_outputs)
    if chosen not in (None, ORDER, NUMBER):
        raise UsageError(f"config.model.class_outputs={chosen!r} is not one of {ORDER}, {NUMBER}")
    if chosen == NUMBER and numbers is None:
        raise UsageError(
            f"config.model.class_outputs={NUMBER}: the names of the classes ({_some(class_names)}) are not different "
            f"numbers of outputs, 0 to {num_outputs - 1}: set it to {ORDER}, or rename the classes"
        )
    synsets = labels() if num_outputs == len(labels()) else {}
    if chosen is None and all(name in synsets for name in class_names):
        found = tuple(synsets[name] for name in class_names)
    elif chosen is None:
        if len(class_names) != num_outputs or numbers not in (None, in_order):
            raise _unknown(class_names, num_outputs, numbers, path)
        found = in_order
    else:
        found = in_order if chosen == ORDER or numbers is None else numbers
    if found != in_order or chosen:
        logger.info(labelled("classes", f"{_pairs(class_names, found)} (of {num_outputs:,} outputs)"))
    return found


def in_order_of(
    classes: Classes, variables: dict[str, Any], *, path: str
) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """Moves the outputs of a network, so that output k stands for class k of the data.

    Args:
      classes: the classes of the data.
      variables: 'params' and 'batch_stats'; the arrays of the last layer are numpy arrays.
      path: path of the weights, for messages.

    Returns:
      The variables, and for each of their outputs its former number; None if no output has moved.

    Raises:
      UsageError: raised by `class_outputs`.
    """
    num_outputs = variables["params"]["head"]["bias"].shape[0]
    return move_outputs(variables, class_outputs(classes.names, num_outputs, chosen=classes.outputs, path=path))


def move_outputs(variables: dict[str, Any], first: Sequence[int]) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """Moves the outputs with the numbers in `first` to the front; returns the same as `in_order_of`."""
    params = variables["params"]
    num_outputs = params["head"]["bias"].shape[0]
    outputs = (*first, *sorted(set(range(num_outputs)) - set(first)))
    if outputs == tuple(range(num_outputs)):
        return variables, None
    head = {name: np.asarray(array)[..., list(outputs)] for name, array in params["head"].items()}
    return variables | {"params": params | {"head": head}}, outputs


def outputs_of_set(
    class_names: Sequence[str], known: Sequence[str] | None, num_outputs: int, *, set_name: str, path: str
) -> tuple[int, ...]:
    """Returns for each class of an evaluation set, which may have fewer classes than the network, its output.

    Classes are found by name, such as n01440764. Names that are numbers, as the folders of ImageNet-V2, are numbers of
    outputs, unless the weights have classes of these names.

    Args:
      class_names: names of the classes of the set, in the order of the labels.
      known: name of the class of each output of the weights; None: unknown; 1,000 outputs are then ImageNet's classes.
      num_outputs: number of outputs of the network.
      set_name: name of the set, for messages.
      path: path of the weights, for messages.

    Raises:
      UsageError: a class of the set is no class of the weights.
    """
    names = synsets() if known is None and num_outputs == len(labels()) else known or ()
    position = {name: number for number, name in enumerate(names)}
    if all(name in position for name in class_names):
        return tuple(position[name] for name in class_names)
    numbers = _numbers(class_names, num_outputs)
    if numbers is not None:
        return numbers
    missing = [name for name in class_names if name not in position]
    what = f"which has {_some(names)}" if names else f"whose {num_outputs:,} outputs have no names"
    raise UsageError(
        f"config.eval.sets: {set_name} has {len(missing):,} classes ({_some(missing)}) that are no classes of {path}, "
        f"{what}: evaluate weights of the same classes, or name folders after WordNet IDs such as n01440764"
    )


def _numbers(class_names: Sequence[str], num_outputs: int) -> tuple[int, ...] | None:
    """Returns the class names as numbers of outputs; None if a name is no such number, or two are the same number."""
    if not all(name.isascii() and name.isdigit() and len(name) <= len(str(num_outputs)) + 9 for name in class_names):
        return None
    numbers = tuple(map(int, class_names))
    return numbers if len(set(numbers)) == len(numbers) and max(numbers, default=0) < num_outputs else None


def _unknown(class_names: Sequence[str], num_outputs: int, numbers: tuple[int, ...] | None, path: str) -> UsageError:
    choices = {ORDER: tuple(range(len(class_names)))} | ({} if numbers is None else {NUMBER: numbers})
    ways = [
        f"--config.model.class_outputs={choice} takes {_pairs(class_names, outputs)}"
        for choice, outputs in choices.items()
    ]
    return UsageError(
        f"{path} has {num_outputs:,} outputs without names, and the data have {len(class_names):,} classes "
        f"({_some(class_names)}): say which output stands for which class; {'; '.join(ways)}; or name the folders "
        "after the WordNet IDs of ImageNet, such as n01440764"
    )


def _pairs(class_names: Sequence[str], outputs: Sequence[int]) -> str:
    # The last classes are shown too: the first ones often have the same output with 'order' as with 'number'.
    chosen = list(zip(class_names, outputs, strict=True))
    shown = chosen if len(chosen) <= 2 * _SHOWN else [*chosen[:_SHOWN], *chosen[-_SHOWN:]]
    pairs = [f"output {output} for {printable(name)!r}" for name, output in shown]
    if len(chosen) > len(shown):
        pairs.insert(_SHOWN, "...")
    return ", ".join(pairs)


def _some(class_names: Sequence[str]) -> str:
    more = ", ..." if len(class_names) > _SHOWN else ""
    return ", ".join(map(printable, class_names[:_SHOWN])) + more
