"""Checks of decoding and of the data."""

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.source import Example
from resnet_jax.programs.doctor import images
from resnet_jax.programs.doctor.finding import ERROR, OK, WARNING


class Broken:
    """A source in which some images cannot be decoded."""

    class_names = ("a", "b")

    def __init__(self, broken):
        self.broken, self.good = broken, open_source("synthetic_jpeg", training=True, num_train=40, num_classes=2)

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return Example(b"GIF", 0) if index in self.broken else self.good[index]

    def where(self, index):
        return f"file {index}"


@pytest.mark.parametrize(
    ("broken", "level", "words"),
    [
        ([], OK, "train 40 images, validation 40 images, 2 classes; 16 of them read and decoded"),
        ([39], WARNING, "validation: 1 of 8 examples cannot be used (file 39: "),
        (range(40), ERROR, "validation: 8 of 8 examples cannot be used (file 0: "),
    ],
)
def test_a_few_examples_of_each_split_are_decoded(broken, level, words):
    (found,) = images.data({"train": Broken([]), "validation": Broken(broken)}, 10**8)
    assert found.level == level and words in found.text


def test_decoding_is_measured():
    (found,) = images.decoding(seconds=0.05)
    assert found.level == OK and int(found.text.split()[0].replace(",", "")) > 0
