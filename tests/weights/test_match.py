"""Matching stored weights with a network by names, shapes and settings."""

import dataclasses

import jax
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.weights import StoredWeights, check_settings, match_variables
from tests.weights.state_dicts import settings, shapes, variables


def stored(changes=None, classes=10, **others):
    arrays = dict(by_path(variables(changes, classes)))
    origin = {name: name for name in arrays}
    return StoredWeights("/there/w", "of a test", arrays, origin, {}, (), settings(changes), **others)


def without(name):
    whole = stored()
    return dataclasses.replace(whole, arrays={key: a for key, a in whole.arrays.items() if key != name})


def test_everything_is_loaded():
    filled = match_variables(stored(), shapes(), head=True, allow_missing=())
    jax.tree.map(np.testing.assert_array_equal, filled.variables, variables())
    assert filled.report == ("loaded       102 of 102 arrays",)
    assert len(filled.table) == 102


def test_the_head_may_stay():
    filled = match_variables(stored(classes=7), shapes(), head=False, allow_missing=())
    assert isinstance(filled.variables["params"]["head"]["bias"], jax.ShapeDtypeStruct)
    assert isinstance(filled.variables["params"]["stem_conv"]["kernel"], np.ndarray)
    assert filled.report == (
        "loaded       100 of 102 arrays",
        "skipped      params/head/bias, params/head/kernel: the last layer is a new one",
    )


NAME = "params/stage2_block1/conv1/kernel"


@pytest.mark.parametrize("pattern", ["stage2_block1/conv1", "kernel$"])
def test_missing_arrays_must_be_allowed(pattern):
    with pytest.raises(UsageError, match=rf"/there/w is of another network: {NAME}, not in the file; .*allow_missing"):
        match_variables(without(NAME), shapes(), head=True, allow_missing=("^stem",))
    filled = match_variables(without(NAME), shapes(), head=True, allow_missing=(pattern,))
    assert isinstance(filled.variables["params"]["stage2_block1"]["conv1"]["kernel"], jax.ShapeDtypeStruct)
    assert f"missing      {NAME}: not in the file, which is allowed" in filled.report


def test_arrays_left_over_must_be_allowed():
    more = dataclasses.replace(stored(), unknown=("maxpool.weight",), skipped={"n": "a counter"})
    with pytest.raises(UsageError, match="maxpool.weight, not in the network"):
        match_variables(more, shapes(), head=True, allow_missing=())
    filled = match_variables(more, shapes(), head=True, allow_missing=("^maxpool",))
    assert "left over    maxpool.weight: not in the network, which is allowed" in filled.report
    assert "skipped      n: a counter" in filled.report


def test_other_shapes_must_be_allowed():
    odd = stored()
    odd.arrays[NAME] = np.zeros((1, 1), np.float32)
    odd.origin[NAME] = "layer2.0.conv1.weight"
    with pytest.raises(UsageError, match=rf"{NAME}, \(1, 1\) in the file, \(3, 3, 4, 8\) in the network"):
        match_variables(odd, shapes(), head=True, allow_missing=())
    filled = match_variables(
        odd, shapes(), head=True, allow_missing=(r"^layer2\.0\.conv1",)
    )  # matches the name in the file
    assert isinstance(filled.variables["params"]["stage2_block1"]["conv1"]["kernel"], jax.ShapeDtypeStruct)
    assert any(line.startswith("reshaped     ") for line in filled.report)


def test_patterns_must_be_regular_expressions():
    with pytest.raises(UsageError, match=r"allow_missing=\('\(',\) has an entry that is not a regular expression"):
        match_variables(stored(), shapes(), head=True, allow_missing=("(",))


@pytest.mark.parametrize("classes", [9, 11, 1001])
def test_another_number_of_classes_is_one_line(classes):
    with pytest.raises(UsageError, match=rf"has {classes:,} classes, the network 10: set .*num_classes={classes}$"):
        match_variables(stored(classes=classes), shapes(), head=True, allow_missing=())


def test_the_background_class_is_dropped_if_the_network_has_one_class_less():
    filled = match_variables(stored(classes=11, has_background=True), shapes(), head=True, allow_missing=())
    head, there = filled.variables["params"]["head"], variables(classes=11)["params"]["head"]
    np.testing.assert_array_equal(head["kernel"], there["kernel"][:, 1:])
    np.testing.assert_array_equal(head["bias"], there["bias"][1:])
    assert any("11 -> 10 classes, without class 0, 'background'" in line for line in filled.report)
    kept = match_variables(stored(classes=11, has_background=True), shapes(classes=11), head=True, allow_missing=())
    np.testing.assert_array_equal(kept.variables["params"]["head"]["bias"], there["bias"])
    with pytest.raises(UsageError, match="11 classes, the network 10"):
        match_variables(stored(classes=11), shapes(), head=True, allow_missing=())


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        ({}, {}),
        ({"model.stem": "space_to_depth"}, {}),
        ({"model.version": "v1"}, {}),  # basic blocks
        ({"model.depth": 50, "model.shortcut": "stage_projection"}, {"model.depth": 50}),
        ({"input.mean": [123.675, 116.28, 103.53]}, {"input.mean": (123.67500001, 116.28, 103.53)}),
        ({"input.per_image": True, "input.mean": (1, 2, 3)}, {"input.per_image": True}),
        ({"model.name": "resnet_cifar", "model.depth": 8, "model.padding": "tf"}, {"model.name": "resnet_cifar"}),
    ],
)
def test_settings_of_equal_functions_count_as_equal(trained, given):
    if "model.name" in given:
        given = given | {"model.depth": 8}
    check_settings(dataclasses.replace(stored(), settings=settings(trained)), settings(given))


@pytest.mark.parametrize(
    ("trained", "given", "flags"),
    [
        ({"model.depth": 34}, {}, "--config.model.depth=34"),
        ({"model.depth": 50, "model.version": "v1"}, {"model.depth": 50}, "--config.model.version=v1"),
        ({"model.shortcut": "stage_projection"}, {}, "--config.model.shortcut=stage_projection"),
        (
            {"model.padding": "tf", "input.std": [1.0, 1.0, 1.0]},
            {},
            r"--config.model.padding=tf --config.input.std='\(1.0, 1.0, 1.0\)'",
        ),
        ({"input.per_image": True}, {}, "--config.input.per_image=True"),
        ({"input.mean": [123.68, 116.28, 103.53]}, {}, r"--config.input.mean='\(123.68, 116.28, 103.53\)'"),
        ({"model.bn_epsilon": 1e-3}, {}, "--config.model.bn_epsilon=0.001"),
    ],
)
def test_the_message_names_the_flags_of_differing_settings(trained, given, flags):
    with pytest.raises(UsageError, match=rf"is a ResNet-.*: set {flags}$"):
        check_settings(dataclasses.replace(stored(), settings=settings(trained)), settings(given))


def test_any_input_accepts_other_input_but_not_another_network():
    other = dataclasses.replace(stored(), settings=settings({"model.padding": "tf", "input.mean": [0, 0, 0]}))
    check_settings(other, settings(), any_input=True)
    with pytest.raises(UsageError, match="set --config.model.depth=18$"):
        check_settings(other, settings({"model.depth": 34}), any_input=True)


def test_unknown_settings_are_not_compared():
    check_settings(dataclasses.replace(stored(), settings={}), settings())
