import numpy as np

from resnet_jax.data.sources import Selective
from resnet_jax.experiment.data_warnings import data_warnings
from resnet_jax.experiment.description import _classes, _left_out


class Labeled:
    """A source of 100 images of each class, whose images are never read."""

    def __init__(self, *names, left_out=""):
        self.class_names, self.left_out, self.class_counts = names, left_out, np.full(len(names), 100)

    def __len__(self):
        return int(self.class_counts.sum())


def test_files_left_out_are_described_once():
    train, evaluation = (
        Labeled("a", left_out="2 files in train: 2 .txt"),
        Labeled("a", left_out="1 file in val: 1 .svg"),
    )
    assert isinstance(train, Selective)
    assert _left_out(train, evaluation) == "2 files in train: 2 .txt; 1 file in val: 1 .svg"
    assert _left_out(train, train) == "2 files in train: 2 .txt" and _left_out(Labeled("a"), object()) == ""


def test_classes_that_look_alike_are_a_warning():
    (warning,) = data_warnings(8, Labeled("rose", "b", "rose "), Labeled("rose", "b", "rose "))
    assert "names differ only in blanks or in the form of Unicode characters ('rose' and 'rose ')" in warning
    assert data_warnings(8, Labeled("rose", "Rose"), Labeled("rose", "Rose")) == []


def test_names_are_escaped():
    assert _classes(Labeled("a\x1b[2J", "b\n")).isprintable()
    (warning,) = data_warnings(8, Labeled("a\x1b[2J\n"), Labeled("a\x1b[2J\n"))
    assert warning.isprintable() and r"a\x1b[2J\n" in warning
