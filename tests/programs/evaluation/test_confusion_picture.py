import io
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.programs.evaluation.confusion import count_pairs
from resnet_jax.programs.evaluation.confusion_picture import make_grid, plot_confusion
from resnet_jax.training.metrics import Answers
from resnet_jax.training.scores import NO_ANSWER


def confusion(num_classes, count, num_outputs=None):
    """90 % correct, the rest predicted as the next class; one image is unreadable, another has no answer."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, num_classes, count)
    predicted = np.where(rng.random(count) < 0.9, label, np.minimum(label + 1, num_classes - 1))
    label[0], predicted[:2] = UNREADABLE, NO_ANSWER
    predicted[2] = (num_outputs or num_classes) - 1
    batch = Answers(label, predicted, np.ones(count, bool), scores=None)
    return count_pairs([batch], num_classes=num_classes, num_outputs=num_outputs or num_classes)


def overlaps(texts, renderer):
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    return any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


@pytest.mark.parametrize("num_classes", [2, 10, 37, 1000])
def test_texts_do_not_overlap_and_the_file_is_small(num_classes):
    figure = plot_confusion(
        confusion(num_classes, 20 * num_classes), [f"class name {k}" for k in range(num_classes)], title="top-1"
    )
    file, canvas = io.BytesIO(), FigureCanvasAgg(figure)
    figure.savefig(file)
    axes, renderer = figure.axes[0], canvas.get_renderer()
    for texts in (axes.get_xticklabels(), axes.get_yticklabels(), axes.texts):
        assert not overlaps(texts, renderer)
    assert len(file.getvalue()) < 1_000_000
    assert all(400 < side < 3000 for side in Image.open(file).size)
    assert len(axes.texts) == (np.count_nonzero(make_grid(*shown(num_classes)).counts) if num_classes <= 20 else 0)


def shown(num_classes):
    return confusion(num_classes, 20 * num_classes), [str(k) for k in range(num_classes)]


def test_every_example_is_in_the_grid_and_extra_rows_and_columns_come_last():
    grid = make_grid(confusion(10, 500, num_outputs=12), [str(k) for k in range(10)])
    assert grid.rows[-1] == "(unreadable)" and grid.columns[-2:] == ["(other)", "(none)"]
    assert grid.counts.sum() == 500 and grid.counts[-1].tolist() == [0] * 11 + [1]
    assert grid.counts[:, -2].sum() == 1


def test_many_classes_share_cells():
    grid = make_grid(confusion(2500, 9000), [str(k) for k in range(2500)])
    assert grid.group == 3 and grid.counts.shape == (834 + 1, 834 + 1) and grid.counts.sum() == 9000


@pytest.mark.parametrize("name", ["$x$ $\\frac$", "猫", "two\nlines", "\udcff", "x" * 99, "\x00", ""])
def test_any_name_can_be_plotted_without_a_warning(name):
    grid = make_grid(confusion(3, 50), ["a", name, "c"])
    assert "\n" not in grid.rows[1] and 0 < len(grid.rows[1]) <= 24
    plot_confusion(confusion(3, 50), ["a", name, "c"], title=f"{name} top-1").savefig(io.BytesIO())


def test_the_global_state_of_matplotlib_is_unchanged():
    before = dict(matplotlib.rcParams)
    plot_confusion(*shown(10), title="top-1").savefig(io.BytesIO())
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
