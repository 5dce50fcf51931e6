import json
import re

import pytest

from resnet_jax import config_keys, experiment
from resnet_jax.config_keys import AT_LEAST_1, Bound, Effect, Key
from resnet_jax.configs import default
from resnet_jax.errors import UsageError
from resnet_jax.nested import difference, flatten
from resnet_jax.weights.compatibility import NETWORK_KEYS
from tests.paths import ROOT

BOUNDS = {name: value for name, value in vars(config_keys).items() if isinstance(value, Bound)}
# For each bound: valid values, then invalid ones, the edges included.
VALUES = {
    "AT_LEAST_0": ([0, 0.0, 7], [-1, -1e-9]),
    "AT_LEAST_1": ([1, 7], [0, -1, 0.5]),
    "ABOVE_0": ([1e-9, 3], [0, 0.0, -1]),
    "UINT32": ([0, 2**32 - 1], [-1, 2**32]),
    "FRACTION": ([0, 0.5, 1], [-0.1, 1.1]),
    "BETWEEN_0_AND_1": ([1e-9, 0.5, 0.999], [0, 1, 0.0, 1.0, -0.1, 2]),
    "SHARE": ([0.01, 1], [0, -0.1, 1.1]),
    "BELOW_1": ([0, 0.999], [-0.1, 1, 1.0]),
    "LOSS_SCALE": ([1.0, 2**24], [0, -1, 2**24 + 1]),
    "UP_TO_10": ([0, 10], [-1, 10.5]),
    "AREA": ([(0.1, 0.1), (0.08, 1)], [(0, 1), (0.5, 0.2), (0.5, 1.1), (0.5,), (0.1, 0.2, 0.3)]),
    "ASPECT": ([(0.1, 7), (1, 1)], [(0, 1), (2, 1), (1,)]),
    "RGB": ([(0, -1, 2.0)], [(1, 2), (1, 2, 3, 4)]),
    "RGB_ABOVE_0": ([(1, 2, 3.0)], [(1, 0, 1), (1, 2), (-1, 1, 1)]),
    "SIZES": ([(), (1, 128)], [(0,), (8.5,), (16_385,)]),
    "SIDE": ([1, 16_384], [0, 16_385, 10**30]),
    "BATCH": ([1, 2**20], [0, 2**20 + 1, 10**30]),
    "CLASSES": ([1, 10**7], [0, 10**7 + 1]),
    "THREADS": ([0, 4096], [-1, 4097]),
    "PROCESSES": ([0, 1024], [-1, 1025]),
    "REPETITIONS": ([1, 10**6], [0, 10**6 + 1]),
    "REPETITIONS_OR_NONE": ([0, 10**6], [-1, 10**6 + 1]),
    "PADDING": ([0, 16_384], [-1, 16_385]),
    "CHANNELS": ([1, 16_384], [0, 16_385]),
    "DEPTH": ([1, 2000], [0, 2001, 6 * 10**30 + 2]),
    "INCREASING": ([(), (1.0, 2)], [(0.0,), (2, 1), (1, 1), (-1, 1)]),
    "ALL_AT_LEAST_0": ([(), (0, 1.5)], [(1, -0.1)]),
}


def by_name():
    return {key.name: key for key in default.KEYS}


def test_every_key_is_declared_once_and_has_a_comment_of_one_line():
    assert len(by_name()) == len(default.KEYS) > 100
    for key in default.KEYS:
        assert 10 < len(key.comment) < 160 and "\n" not in key.comment, key.name
        assert not key.comment.endswith("."), key.name


def test_a_key_whose_default_is_none_is_optional_and_other_defaults_have_the_declared_type():
    for key in default.KEYS:
        if key.default is None:
            assert key.optional is not None, key.name
        elif key.optional:
            assert type(key.default) is key.optional, key.name


def test_an_optional_key_may_have_a_default_be_none_and_get_a_value_again():
    config = config_keys.build_config([Key("a.b", 90.0, "a key", optional=float), Key("a.c", 3, "a key")])
    assert config.a.b == 90.0 and config.get_type("a") is not None and config.a.get_type("b") is float
    config.a.b = None
    assert config.a.b is None and json.loads(config.to_json()) == {"a": {"b": None, "c": 3}}
    config.update({"a": {"b": 5}})
    assert config.a.b == 5.0 and isinstance(config.a.b, float)
    with pytest.raises(TypeError):
        config.a.b = "many"


def test_none_is_refused_for_a_key_that_is_not_optional():
    keys = [Key("a", 3, "a key", AT_LEAST_1), Key("b", "x", "a key"), Key("c", 3, "a key", AT_LEAST_1, optional=int)]
    config_keys.check_bounds(keys, {"a": 3, "b": "x", "c": None})
    for values, default_value in (({"a": None, "b": "x", "c": 1}, "3"), ({"a": 3, "b": None, "c": 1}, "'x'")):
        with pytest.raises(
            UsageError, match=rf"^config.[ab]=None: this key needs a value; its default is {default_value}$"
        ):
            config_keys.check_bounds(keys, values)


def test_the_config_has_the_declared_keys_and_is_locked():
    config = default.get_config()
    assert flatten(config.to_dict()) == {key.name: key.default for key in default.KEYS}
    with pytest.raises(AttributeError):
        config.data.no_such_key = 1
    with pytest.raises(AttributeError):
        config.no_such_section = 1
    with pytest.raises(TypeError):
        config.eval.batch_size = "many"
    config.eval.batch_size = 8
    assert config.eval.batch_size == 8


def test_every_bound_is_used_and_tested():
    assert set(BOUNDS) == set(VALUES)
    assert {key.bound for key in default.KEYS} - {None} == set(BOUNDS.values())


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_accepts_valid_numbers_and_rejects_others(name):
    valid, invalid = VALUES[name]
    key = [Key("a.b", 1, "a key", BOUNDS[name])]
    for value in valid:
        config_keys.check_bounds(key, {"a.b": value})
    for value in [*invalid, *([float("nan"), float("inf")] if not isinstance(valid[0], tuple) else [(float("nan"),)])]:
        message = f"config.a.b={value!r} is out of range: it must be {BOUNDS[name].words}"
        with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
            config_keys.check_bounds(key, {"a.b": value})


MISTAKES = [10**30, 1e30, -1e30, -(10**30), 10**400, 10**5000, (0.5, 1e30), (("^head/", 1e30),)]


@pytest.mark.parametrize("value", MISTAKES, ids=[f"mistake{number}" for number in range(len(MISTAKES))])
def test_a_number_that_can_only_be_a_mistake_is_one_line_for_every_key(value):
    for bound in (None, config_keys.ABOVE_0, config_keys.RGB):
        with pytest.raises(UsageError, match=r"^config.a.b=.{1,90} is out of range: it must be [^\n]*$"):
            config_keys.check_bounds([Key("a.b", 1, "a key", bound)], {"a.b": value})


@pytest.mark.parametrize("value", ["x", "", True, (), (2, 3.0), 2**31 - 1, 1e9, -1e9])
def test_other_values_of_a_key_without_bound_are_valid(value):
    config_keys.check_bounds([Key("a.b", 1, "a key")], {"a.b": value})


def test_an_address_is_no_path_for_any_key_that_names_one():
    paths = {key.name for key in default.KEYS if key.is_path}
    assert paths >= {"data.data_dir", "model.init_from", "export.dir", "eval.checkpoint", "prepare.archives"}
    for key in default.KEYS:  # every optional text whose comment speaks of a file or a directory is declared as a path
        if key.optional is str and re.search(r"\b(file|directory|run)\b", key.comment):
            assert key.is_path or key.name in ("data.train_split", "data.eval_split"), key.name
    values = {key.name: key.default for key in default.KEYS}
    config_keys.check_paths(default.KEYS, values)
    of_weights = {key.name for key in default.KEYS if key.may_be_on_hub}
    for name in of_weights:  # a run in a bucket
        config_keys.check_paths(default.KEYS, values | {name: "gs://bucket/x"})
    for name in [*paths - of_weights, "data.train_split", "data.name", "train.trainable"]:
        with pytest.raises(UsageError, match=rf"^config.{name}=gs://bucket/x is not a local path: mount the bucket"):
            config_keys.check_paths(default.KEYS, values | {name: "gs://bucket/x"})


def test_none_is_within_every_bound_and_the_defaults_are_within_theirs():
    config_keys.check_bounds([Key("a", None, "a key", AT_LEAST_1, optional=int)], {"a": None})
    config_keys.check_bounds(default.KEYS, flatten(default.get_config().to_dict()))


def test_a_continued_run_may_change_what_affects_neither_weights_nor_metrics():
    keys = by_name()
    allowed = set(experiment.MAY_CHANGE)
    assert {"checkpoint", "log", "predict", "export", "plan", "benchmark", "prepare"} <= allowed
    assert {"eval.every_epochs", "eval.every_steps", "eval.stop_at", "train.max_steps", "data.data_dir"} <= allowed
    assert not allowed & {"data", "input", "model", "loss", "optimizer", "schedule", "ema", "train", "eval", "seed"}
    for name in ("seed", "data.batch_size", "train.epochs", "train.reduce_dtype", "eval.image_size", "data.eval_split"):
        assert name not in allowed
    assert keys["train.max_steps"].effect is Effect.FREE


def test_an_evaluation_may_change_all_but_the_network_and_its_input():
    """The same keys as before they were declared in one place."""
    names = {key.name for key in default.KEYS if key.effect is Effect.WEIGHTS}
    others = {"model.num_classes", "model.dtype", "model.bn_momentum", "ema.decay", "ema.every_steps"}
    assert names == {*NETWORK_KEYS, *others}
    allowed = set(experiment.EVALUATION_MAY_CHANGE)
    assert {"seed", "data", "mixing", "loss", "optimizer", "schedule", "train", "eval", "checkpoint", "log"} <= allowed
    assert not allowed & {"input", "model", "ema", *names}
    assert {"input.flip", "model.bn_group_size", "model.init_from"} <= allowed


def test_a_free_section_covers_keys_of_other_versions():
    settings = experiment.resolve(default.get_config())
    earlier = json.loads(json.dumps(settings))
    earlier["log"]["removed_key"], earlier["eval"]["every_epochs"] = 3, 7.0
    assert difference(earlier, settings, ignore=experiment.MAY_CHANGE) == []
    earlier["train"]["removed_key"] = 3
    assert difference(earlier, settings, ignore=experiment.MAY_CHANGE) == ["train.removed_key: 3 there, absent here"]


def test_the_page_of_keys_has_one_key_per_line_or_two():
    lines = [
        line for name in ("default", "mode_keys") for line in (ROOT / "configs" / f"{name}.py").read_text().splitlines()
    ]
    starts = [number for number, line in enumerate(lines) if line.startswith('    Key("')]
    ends = [number for number, line in enumerate(lines) if line.endswith("),")]
    assert len(starts) == len(default.KEYS)
    assert max(min(end for end in ends if end >= start) - start for start in starts) == 1
