"""Which output stands for which class, for weights that do not name their classes: never a silent mistake."""

import logging

import numpy as np
import pytest

from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.errors import UsageError
from resnet_jax.weights.class_outputs import Classes, class_outputs, outputs_of_set
from resnet_jax.weights.select import SelectedWeights, with_outputs_in_order_of


def outputs(names, count, chosen=None):
    return class_outputs(names, count, chosen=chosen, path="w.pth")


def unpadded(count):
    return sorted(map(str, range(count)))


def test_synset_folders_have_the_outputs_of_imagenet_in_any_number_and_order():
    random = np.random.default_rng(0)
    for count in (1, 2, 10, 999, 1000):
        chosen = random.permutation(1000)[:count].tolist()
        assert outputs([synsets()[k] for k in chosen], 1000) == tuple(chosen)
    assert outputs(synsets(), 1000) == tuple(range(1000))


@pytest.mark.parametrize("names", [["cat", "dog", "eel"], ["0", "1", "2"], ["00", "01", "02"], ["1", "2", "3"]])
def test_as_many_classes_as_outputs_in_order_need_no_choice(names):
    assert outputs(names, 3) == (0, 1, 2)


@pytest.mark.parametrize(
    ("names", "count"),
    [(["cat", "dog"], 1000), (["n01440764", "cat"], 1000), (unpadded(11), 11), (unpadded(20), 1000), (["2", "1"], 3)],
)
def test_every_other_case_demands_a_choice_and_shows_it(names, count):
    with pytest.raises(UsageError) as found:
        outputs(names, count)
    message = str(found.value)
    assert "\n" not in message and f"class_outputs=order takes output 0 for {names[0]!r}" in message
    assert ("class_outputs=number" in message) == names[0].isdigit()
    if len(names) == 20:  # the last ones differ most
        assert "output 9 for '9'" in message and "output 19 for '9'" in message
    assert outputs(names, count, "order") == tuple(range(len(names)))


def test_the_number_of_the_name(caplog):
    logging.getLogger("resnet_jax").propagate = True
    caplog.set_level(logging.INFO, logger="resnet_jax")
    assert outputs(unpadded(11), 11, "number") == (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)
    assert "output 10 for '10'" in caplog.text


@pytest.mark.parametrize(
    "names", [["cat", "dog"], ["1", "01"], ["1", "1000"], ["²", "1"], ["-1", "0"], ["9" * 5000, "1"]]
)
def test_names_that_are_not_different_outputs(names):
    with pytest.raises(UsageError, match="are not different numbers of outputs, 0 to 999"):
        outputs(names, 1000, "number")


def test_an_unknown_choice():
    with pytest.raises(UsageError, match=r"class_outputs='yes' is not one of order, number"):
        outputs(["a"], 1, "yes")


def test_the_columns_of_the_last_layer_are_moved():
    kernel, bias = np.arange(8.0).reshape(2, 4), np.arange(4.0)
    variables = {"params": {"head": {"kernel": kernel, "bias": bias}}, "batch_stats": {}}
    selected = SelectedWeights(variables, "w.pth", None, None, "0", None)
    moved = with_outputs_in_order_of(selected, Classes(["3", "1"], "number"))
    assert moved.outputs == (3, 1, 0, 2) and moved.sha256 == "0"
    np.testing.assert_array_equal(moved.variables["params"]["head"]["bias"], [3, 1, 0, 2])
    np.testing.assert_array_equal(moved.variables["params"]["head"]["kernel"], kernel[:, [3, 1, 0, 2]])
    np.testing.assert_array_equal(variables["params"]["head"]["bias"], bias)
    assert with_outputs_in_order_of(selected, Classes(["a", "b"], "order")) == selected


def of_set(names, known, count):
    return outputs_of_set(names, known, count, set_name="a set", path="w.pth")


def test_an_evaluation_set_may_have_some_of_the_classes_of_the_weights_in_any_order():
    assert of_set(["eel", "cat"], ("cat", "dog", "eel"), 3) == (2, 0)
    assert of_set([synsets()[5], synsets()[900]], None, 1000) == (5, 900)  # 1,000 outputs without names
    assert of_set(["3", "10"], tuple(unpadded(11)), 11) == (4, 2)  # names of classes come before numbers of outputs


def test_folders_named_by_numbers_are_numbers_of_outputs():
    names = unpadded(1000)  # the folders of ImageNet-V2 in the order of their names: 0, 1, 10, 100, 101, ...
    assert of_set(names, synsets(), 1000)[:4] == (0, 1, 10, 100) == of_set(names, None, 1000)[:4]


@pytest.mark.parametrize(
    ("names", "known", "count", "message"),
    [
        (
            ["cat", "yak"],
            ("cat", "dog"),
            2,
            r"a set has 1 classes \(yak\) that are no classes of w.pth, which has cat, dog",
        ),
        (["cat"], None, 10, "whose 10 outputs have no names"),
        (["cat"], (), 1000, "whose 1,000 outputs have no names"),
        (["1000"], synsets(), 1000, "1 classes .1000. that are no classes of w.pth, which has n01440764, "),
    ],
)
def test_classes_of_a_set_that_the_weights_lack_are_one_line(names, known, count, message):
    with pytest.raises(UsageError, match=message) as error:
        of_set(names, known, count)
    assert "\n" not in str(error.value)
