"""The 1,000 classes of ILSVRC2012 as WordNet IDs, and the class of each validation image."""

import functools
import importlib.resources


@functools.cache
def synsets() -> tuple[str, ...]:
    """Returns the WordNet IDs of the 1,000 classes, such as 'n01440764', in ascending order; class 0 is the first."""
    return _lines("labels.txt")


@functools.cache
def labels() -> dict[str, int]:
    """Returns a dict from WordNet ID to class index, for example 0 for 'n01440764'."""
    return {synset: label for label, synset in enumerate(synsets())}


@functools.cache
def validation_synsets() -> tuple[str, ...]:
    """Returns the WordNet ID of the class of each validation image, starting with ILSVRC2012_val_00000001.JPEG."""
    return _lines("validation_labels.txt")


def _lines(name: str) -> tuple[str, ...]:
    """Reads the lines of a file in the TFDS package; does not import its ImageNet module, which needs TensorFlow."""
    file = importlib.resources.files("tensorflow_datasets").joinpath("datasets/imagenet2012", name)
    return tuple(file.read_text(encoding="ascii").split())
