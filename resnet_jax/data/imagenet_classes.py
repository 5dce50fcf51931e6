"""The 1,000 classes of ILSVRC2012 by their WordNet numbers, and the class of each validation image."""

import functools
import importlib.resources


@functools.cache
def synsets() -> tuple[str, ...]:
    """The WordNet numbers of the 1,000 classes, as 'n01440764'; class k is the k-th, in order of the number."""
    return _lines("labels.txt")


@functools.cache
def labels() -> dict[str, int]:
    """WordNet number -> class."""
    return {synset: label for label, synset in enumerate(synsets())}


@functools.cache
def validation_synsets() -> tuple[str, ...]:
    """The WordNet number of each validation image: that of ILSVRC2012_val_00000001.JPEG comes first."""
    return _lines("validation_labels.txt")


def _lines(name: str) -> tuple[str, ...]:
    """A list of TFDS's, read as a file: its code for this data set needs TensorFlow."""
    file = importlib.resources.files("tensorflow_datasets").joinpath("datasets/imagenet2012", name)
    return tuple(file.read_text(encoding="ascii").split())
