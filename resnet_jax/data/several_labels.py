"""Several correct labels of an image, such as the ReaL labels of the validation images of ImageNet."""

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources import SeveralLabels, Source, example_ids
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import local_path
from resnet_jax.nested import has_shape

Labels = Sequence[tuple[int, ...]]  # all correct labels of each image, in the order of the data; () if there are none
_KEY = "config.eval.labels"
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")


def stored_labels(source: Source) -> Labels | None:
    """Returns all correct labels of each image, for a source such as TFDS's imagenet2012_real.

    Returns None if the source has just one label for each image. An image that cannot be read gets no label.
    """
    if not isinstance(source, SeveralLabels) or _labels_at(source, 0) is None:
        return None
    return [_labels_at(source, index) or () for index in range(len(source))]


def _labels_at(source: SeveralLabels, index: int) -> tuple[int, ...] | None:
    try:
        return source.right_labels(index)
    except (OSError, ValueError):
        return ()


def labels_from_file(path: str, source: Source) -> Labels:
    """Returns the ReaL labels of the validation images of ImageNet in a source, from the file `real.json`.

    The file is a JSON list: element k holds the list of correct labels of ILSVRC2012_val_<k + 1>.JPEG. Source: L. Beyer
    et al., "Are we done with ImageNet?", 2020, https://github.com/google-research/reassessed-imagenet.

    Args:
      path: the file.
      source: images whose names contain ILSVRC2012_val_ and the number of the image.

    Raises:
      UsageError: the file cannot be read or has another form, or the name of an image has no such number.
    """
    content = _read(path, num_classes=len(source.class_names))
    return [content[number - 1] for number in _numbers(example_ids(source), source.name, last=len(content))]


def _read(path: str, *, num_classes: int) -> list[tuple[int, ...]]:
    try:
        text = read_regular(local_path(path, name=_KEY))
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(f"{_KEY}={path} cannot be read ({reason}): give the path of real.json") from None
    content: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(text)
    if not has_shape(content, [[int]]):
        raise UsageError(f"{_KEY}={path} is not a JSON list of lists of labels: give the path of real.json")
    wrong = next((label for labels in content for label in labels if not 0 <= label < num_classes), None)
    if wrong is not None:
        raise UsageError(f"{_KEY}={path} has label {wrong}, but the data have {num_classes} classes: use other data")
    return [tuple(labels) for labels in content]


def _numbers(names: Iterable[str], source_name: str, *, last: int) -> Iterable[int]:
    for name in names:
        match = _NUMBER.search(name)
        if not match or not 1 <= int(match[1]) <= last:
            raise UsageError(
                f"{_KEY}: image {name!a} of {source_name} is not named ILSVRC2012_val_<8 digits>, up to {last:,}: "
                "use a folder with the validation images of ImageNet under their names, or the TFDS data set "
                "imagenet2012_real, which contains these labels"
            )
        yield int(match[1])
