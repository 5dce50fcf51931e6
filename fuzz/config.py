"""Target 'config': any values of config keys build an experiment, or are one UsageError before anything is compiled."""

from typing import Any

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, silent
from resnet_jax import experiment
from resnet_jax.config_keys import check_bounds, check_paths
from resnet_jax.configs import default
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from tests.tiny import tiny_config

_Changes = dict[str, Any]
# What ml_collections raises for a value of another type; the command line makes one line of it.
_OTHER_TYPE = (TypeError, ValueError, OverflowError)


def inputs() -> SearchStrategy[_Changes]:
    """Returns a strategy for one to three changes: dotted key -> a value, mostly of its type."""
    changes = [strategies.tuples(strategies.just(key.name), _values(key.default, key.optional)) for key in default.KEYS]
    return strategies.lists(strategies.one_of(changes), min_size=1, max_size=3).map(dict)


def check(changes: _Changes) -> None:
    """Checks the values as every mode does, and builds the experiment."""
    config = tiny_config()
    try:
        config.update_from_flattened_dict(changes)
    except _OTHER_TYPE:
        return
    with silent():
        try:
            values = flatten(config.to_dict())
            check_bounds(default.KEYS, values)
            check_paths(default.KEYS, values)
            experiment.build(config)
        except UsageError as error:
            check_message(error)


def _values(value: Any, optional: type | None) -> SearchStrategy[Any]:
    numbers = strategies.one_of(
        strategies.integers(-3, 300),
        strategies.integers(),
        strategies.sampled_from([10**30, -(10**30), 10**400, 2**31, 2**31 - 1, 2**63]),
    )
    floats = strategies.one_of(
        strategies.floats(), strategies.floats(0, 2), strategies.sampled_from([1e30, -1e30, 1e-30, 1e9])
    )
    texts = strategies.text(max_size=8) | strategies.sampled_from(
        ["gs://b/x", "~nobody/x", "(", "\0", "\udce9", "none"]
    )
    of_type: dict[type, SearchStrategy[Any]] = {
        bool: strategies.booleans(),
        int: numbers,
        float: floats,
        str: texts,
        tuple: strategies.lists(strategies.one_of(numbers, floats, texts), max_size=4).map(tuple),
    }
    own = of_type[optional or type(value)]
    return strategies.one_of(own, own, own, strategies.none(), *of_type.values())


TARGET = Target(inputs, check)
