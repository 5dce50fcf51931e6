"""The 1,000 classes of ILSVRC2012 as WordNet IDs, and the class of each validation image."""

import functools
import importlib.resources
import re
from collections.abc import Iterable, Sequence

from resnet_jax.errors import UsageError
from resnet_jax.text import printable

# Matches the names of training images, such as 'n01440764_10026.JPEG', and the names of all images in the Parquet files
# of Hugging Face, which end with the WordNet ID of the class, such as 'ILSVRC2012_val_00000001_n01751748.JPEG'.
_WITH_SYNSET = re.compile(r"(?:.*_)?(n\d{8})(?:_\d+)?(?:\.\w+)?")
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})(?:\.\w+)?")


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


def synset_of(file: str) -> str | None:
    """Returns the WordNet ID of the class of an image file of ILSVRC2012 by its name; None for any other file name.

    Args:
      file: name or path of the file, with or without its ending.
    """
    name = file.rpartition("/")[2]
    validation = _VALIDATION.fullmatch(name)
    if validation is not None:
        number = int(validation[1])
        return validation_synsets()[number - 1] if 1 <= number <= len(validation_synsets()) else None
    match = _WITH_SYNSET.fullmatch(name)
    return match[1] if match is not None and match[1] in labels() else None


def names_by_files(class_names: Sequence[str], examples: Iterable[tuple[str, str, int]]) -> tuple[str, ...]:
    """Returns the WordNet IDs of the classes if they are those of ImageNet, else `class_names`.

    They are those of ImageNet if there are 1,000 classes and all examples have file names of ILSVRC2012.

    Args:
      class_names: names of the classes in the data, in the order of the labels.
      examples: for each example in a sample of the data: its location for messages, its file name, and its label.

    Raises:
      UsageError: the classes are those of ImageNet, but a label is not the index of its class in `synsets()`.
    """
    found = [(where, synset_of(file), label) for where, file, label in examples]
    if len(class_names) != len(synsets()) or not found or any(synset is None for _, synset, _ in found):
        return tuple(class_names)
    for where, synset, label in found:
        if labels()[str(synset)] != label:
            raise UsageError(
                f"{where} has label {label}, but its file name says class {synset}, number {labels()[str(synset)]} of "
                "the 1,000 classes of ImageNet in the order of their WordNet IDs: number the labels in this order"
            )
    return synsets()


def check_order(class_names: Sequence[str], *, owner: str) -> None:
    """Raises UsageError if all classes are WordNet IDs of ImageNet, but not in ascending order, that of `synsets`.

    Args:
      class_names: names of the classes, in the order of the labels.
      owner: the file that gives this order, for the message.
    """
    if all(name in labels() for name in class_names) and list(class_names) != sorted(class_names):
        first = next(
            k for k, (name, other) in enumerate(zip(class_names, sorted(class_names), strict=True)) if name != other
        )
        raise UsageError(
            f"{owner} gives the classes of ImageNet in another order than that of their WordNet IDs (class {first} is "
            f"{printable(class_names[first])}, not {sorted(class_names)[first]}), so that labels would not match "
            "weights and other data: sort its lines"
        )


def _lines(name: str) -> tuple[str, ...]:
    """Reads the lines of a file in the TFDS package; does not import its ImageNet module, which needs TensorFlow."""
    file = importlib.resources.files("tensorflow_datasets").joinpath("datasets/imagenet2012", name)
    return tuple(file.read_text(encoding="ascii").split())
