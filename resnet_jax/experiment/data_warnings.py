"""Warns of probable mistakes in the data of a run before the run starts; a warning does not stop the run."""

from collections.abc import Sequence

import numpy as np

from resnet_jax.data.class_names import alike
from resnet_jax.data.sources import Counted, Source, count_shared
from resnet_jax.text import printable, some_of


def data_warnings(batch_size: int, train_source: Source, eval_source: Source) -> list[str]:
    """Returns one sentence for each problem: what was found, what follows from it, and the cure.

    Args:
      batch_size: number of images of a training step, over all devices.
      train_source: the training set.
      eval_source: the evaluation set.
    """
    found = (
        _shared(train_source, eval_source),
        _large_batch(batch_size, len(train_source)),
        _single_class(train_source.class_names),
        _alike(train_source.class_names),
        _rare_classes(train_source),
        _unevaluated_classes(eval_source),
    )
    return [sentence for sentence in found if sentence]


def _shared(train_source: Source, eval_source: Source) -> str:
    shared, total = count_shared(train_source, eval_source), len(eval_source)
    if not shared:
        return ""
    which = "all" if shared == total else f"{shared:,} of the"
    return (
        f"{which} {total:,} evaluation images are also trained on, so the accuracy will be too high: set "
        "config.data.train_split and config.data.eval_split to different images"
    )


def _large_batch(batch_size: int, num_examples: int) -> str:
    if 10 * batch_size <= num_examples:
        return ""
    return (
        f"a batch of {batch_size:,} images is more than a tenth of the {num_examples:,} training images, so an epoch "
        f"has only {num_examples / batch_size:.2g} steps: set a smaller --config.data.batch_size"
    )


def _single_class(class_names: Sequence[str]) -> str:
    if len(class_names) > 1:
        return ""
    name = printable(class_names[0])
    return f"all images are of one class, {name}, so there is nothing to learn: add images of other classes"


def _alike(class_names: Sequence[str]) -> str:
    pairs = [f"{first!a} and {second!a}" for first, second in alike(class_names)]
    if not pairs:
        return ""
    return (
        "the training set has classes whose names differ only in blanks or in the form of Unicode characters "
        f"({some_of(pairs)}): make one class of each such pair"
    )


def _rare_classes(source: Source) -> str:
    rare = _classes(source, at_most=1)
    return rare and f"at most one training image in {rare}: such a class can hardly be learned, add images"


def _unevaluated_classes(source: Source) -> str:
    absent = _classes(source, at_most=0)
    return absent and f"no evaluation image in {absent}: the accuracy says nothing about such a class"


def _classes(source: Source, *, at_most: int) -> str:
    """Names the classes with at most `at_most` images; '' if there are none, or if the source has no class counts."""
    counts = source.class_counts if isinstance(source, Counted) else np.zeros(0, int)
    names = [printable(source.class_names[label]) for label in np.flatnonzero(counts <= at_most)]
    classes = f"{len(names):,} class{'es' * (len(names) > 1)}"
    return f"{classes} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})" if names else ""
