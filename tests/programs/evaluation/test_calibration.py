import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.optimize import minimize_scalar

from resnet_jax.programs.evaluation.calibration import (
    adaptive_error,
    calibration,
    expected_error,
    reliability,
)
from resnet_jax.programs.evaluation.calibration_picture import plot_calibration
from resnet_jax.training.metrics import Answers
from tests.programs.evaluation.example import scores_of


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def made_up(count=4000, outputs=10, *, sharpness=2.0, seed=0):
    """Labels drawn from the softmax of some logits, and these logits times `sharpness`: the temperature is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, outputs))
    label = (softmax(logits).cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return sharpness * logits, label.astype(np.int32)


def answers_of(logits, label):
    scores = scores_of(logits, label)
    return Answers(label, scores.top[:, 0], np.ones(len(label), bool), scores)


def reference_ece(probabilities, label):
    """ECE as in the code of C. Guo et al., bin by bin."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label
    edges, total = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def reference_adaptive(probabilities, label):
    """The same over fifteen bins of equal size: the images in order of confidence, 4,000 = 10 x 267 + 5 x 266."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label
    order = np.argsort(confidence, kind="stable")
    sizes = [len(label) // 15 + (k < len(label) % 15) for k in range(15)]
    gaps = [abs((right[part] * 1.0 - confidence[part]).sum()) for part in np.split(order, np.cumsum(sizes)[:-1])]
    return sum(gaps) / len(label)


def test_the_scores_agree_with_their_definitions():
    logits, label = made_up()
    found, p = calibration(answers_of(logits, label)), softmax(logits)
    one_hot = np.eye(10)[label]
    assert found["count"] == 4000
    assert found["nll"] == pytest.approx(-np.log(p[np.arange(4000), label]).mean(), rel=1e-6)
    assert found["brier"] == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean(), rel=1e-6)
    assert found["ece"] == pytest.approx(reference_ece(p, label), rel=1e-5)
    assert found["adaptive_ece"] == pytest.approx(reference_adaptive(p, label), rel=1e-5)


def test_the_temperature_is_that_of_a_search_with_all_logits_and_is_judged_on_the_other_half():
    logits, label = made_up(sharpness=1.7)
    found = calibration(answers_of(logits, label))["temperature"]

    def nll(temperature, rows):
        p = softmax(logits[rows] / temperature)
        return -np.log(p[np.arange(len(p)), label[rows]]).mean()

    first, second = slice(0, None, 2), slice(1, None, 2)
    best = minimize_scalar(nll, bounds=(0.3, 7), method="bounded", args=(first,), options={"xatol": 1e-9}).x
    assert found["value"] == pytest.approx(best, rel=1e-4) and found["value"] == pytest.approx(1.7, rel=0.05)
    p = softmax(logits[second] / best)
    assert found["after"]["nll"] == pytest.approx(nll(best, second), rel=1e-6)
    assert found["after"]["brier"] == pytest.approx(((p - np.eye(10)[label[second]]) ** 2).sum(1).mean(), rel=1e-5)
    assert found["after"]["ece"] == pytest.approx(reference_ece(p, label[second]), abs=1e-3)  # one image
    assert found["before"]["ece"] == pytest.approx(reference_ece(softmax(logits[second]), label[second]), rel=1e-5)
    assert (found["fitted_on"], found["judged_on"]) == (2000, 2000)
    assert found["after"]["ece"] < found["before"]["ece"] / 3


def test_a_temperature_outside_of_the_range_is_its_end():
    logits, label = made_up(200)
    certain = np.where(np.arange(10) == label[:, None], 1.0, 0.0)  # always right: the smaller T, the better
    assert calibration(answers_of(certain, label))["temperature"]["value"] == pytest.approx(0.25, rel=1e-4)
    assert calibration(answers_of(50 * logits, label))["temperature"]["value"] == pytest.approx(8.0, rel=1e-4)


def test_ece_of_four_images_by_hand():
    confidence, right = np.array([0.95, 0.95, 0.65, 0.60]), np.array([True, False, True, True])
    # Bins 14/15..1 (two images, 0.95 against 0.5), 9/15..10/15 (0.65 against 1) and 8/15..9/15 (0.60 against 1).
    assert expected_error(confidence, right) == pytest.approx((2 * 0.45 + 0.35 + 0.40) / 4)
    # Fifteen bins of at most one image: |0.95 - 1| + |0.95 - 0| + |0.65 - 1| + |0.60 - 1|.
    assert adaptive_error(confidence, right) == pytest.approx((0.05 + 0.95 + 0.35 + 0.40) / 4)
    bins = reliability(confidence, right)
    assert [bin_.images for bin_ in bins] == [0] * 8 + [1, 1, 0, 0, 0, 0, 2] and bins[0].accuracy is None


def test_images_without_an_answer_are_left_out():
    logits, label = made_up(100)
    all_of_them = calibration(answers_of(logits, label))
    logits = np.concatenate([logits, np.full((1, 10), np.nan), logits[:1]])
    label = np.concatenate([label, [0, -1]]).astype(np.int32)
    found = calibration(answers_of(logits, label))
    assert found["count"] == 100 and found["ece"] == pytest.approx(all_of_them["ece"])
    assert calibration(answers_of(logits[-2:], label[-2:])) is None


def test_the_picture_has_the_bars_of_the_filled_bins():
    logits, label = made_up(300)
    found = calibration(answers_of(logits, label))
    figure = plot_calibration(found, title="digits\ntop-1 50 %")
    FigureCanvasAgg(figure)
    figure.savefig(io.BytesIO())
    filled = sum(bin_["images"] > 0 for bin_ in found["reliability"])
    above, below = figure.axes
    assert len(above.patches) == 2 * filled and len(below.patches) == filled
    assert sum(bar.get_height() for bar in below.patches) == 300
