import numpy as np

from resnet_jax.experiment.replayed_step import LayerReport
from resnet_jax.programs.replay.finding import find, largest_weight
from resnet_jax.training.layer_probe import ParameterReport

LAYERS = ("conv1", "bn1", "head")
ALL = tuple(range(6))  # rows
FINE = ParameterReport(np.float32(1), {"a": np.float32(4)}, {"a": np.float32(2)}, {"a": np.float32(1)})


def report(forward=None, backward=None):
    """Five layers of six images, all magnitudes 1 but those given as {(layer, row): magnitude}."""
    made = np.ones((5, 6), np.float32), np.ones((3, 6), np.float32)
    for values, changes in zip(made, (forward, backward), strict=True):
        for place, magnitude in (changes or {}).items():
            values[place] = magnitude
    return LayerReport(("input", *LAYERS, "loss"), made[0], LAYERS, made[1])


def test_the_first_layer_is_that_of_the_forward_pass():
    found = find(report({(1, 4): np.inf, (2, (3, 4, 5)): np.nan, (0, 4): 9.0}, {(0, 0): np.nan}), FINE)
    assert (found.where, found.name, found.rows, found.in_few) == ("forward", "conv1", (4,), True)
    assert (found.before, found.largest_before, found.largest_row) == ("input", 9.0, 4)


def test_a_batch_norm_that_one_image_breaks_names_this_image():
    found = find(report({(2, ALL): np.nan, (1, 2): 1e20}), FINE)
    assert (found.name, found.in_few, found.outlier, found.largest_row) == ("bn1", False, True, 2)
    grown = find(report({(2, ALL): np.nan, (1, ALL): 1e20}), FINE)
    assert not grown.in_few and not grown.outlier


def test_inputs_and_losses_count_too():
    found = find(report({(0, 5): np.nan}), FINE)
    assert (found.name, found.rows, found.before, found.largest_row) == ("input", (5,), "", None)
    assert find(report({(4, 0): np.inf}), FINE).name == "loss"


def test_the_backward_pass_begins_at_the_last_layer():
    found = find(report(backward={(0, ALL): np.nan, (1, 3): np.inf, (2, 3): 1e30}), FINE)
    assert (found.where, found.name, found.rows, found.before) == ("backward", "bn1", (3,), "head")


def test_gradients_of_parameters_and_their_norm_come_last():
    broken = FINE._replace(gradients={"a": np.float32(2), "b": np.float32(np.nan)})
    assert find(report(), broken)[:3] == ("parameter", "b", ())
    large = FINE._replace(squares={"a": np.float32(3e38), "b": np.float32(3e38)})
    assert find(report(), large).where == "norm"
    assert find(report(), FINE) is None


def test_the_largest_weight_may_be_broken():
    weights = {"a": np.float32(3), "b": np.float32(7), "c": np.float32(1)}
    assert largest_weight(weights) == ("b", 7.0)
    assert largest_weight(weights | {"c": np.float32(np.inf)})[0] == "c"
