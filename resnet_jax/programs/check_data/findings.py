"""Judges what a survey of the data has found: duplicates, problems that would harm training, and notes."""

import dataclasses

import numpy as np

from resnet_jax.data.examination import BLANK, ROTATED
from resnet_jax.experiment import CheckedData
from resnet_jax.programs.check_data.survey import UNKNOWN, Survey
from resnet_jax.text import printable, some_of

_MANY = 0.01  # a fault that more than this fraction of the images of a split has is a problem, else a note
_SMALL = 4  # an image is tiny if its shorter side is less than the side of the network's input divided by this
_HUGE = 50_000_000  # pixels; an image of 50 megapixels takes about half a second to decode


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Pairs of images of one split with equal pixels: index of an image, and of the first image with these pixels."""

    within: list[tuple[int, int]]
    other_class: list[tuple[int, int]]  # the pairs of `within` whose two labels differ


@dataclasses.dataclass(frozen=True)
class Findings:
    """The result of the check of both splits."""

    duplicates: dict[str, Duplicates]  # by split: 'train' and 'eval'
    shared: list[tuple[int, int]]  # index of an evaluation image, and of a training image with the same pixels
    tiny: dict[str, list[int]]
    huge: dict[str, list[int]]
    problems: list[str]  # each would harm training or make its results wrong
    notes: list[str]


def find(data: CheckedData, train: Survey, evaluation: Survey) -> Findings:
    """Compares the images of both splits, and judges all findings."""
    splits = {"train": train, "eval": evaluation}
    found = Findings(
        duplicates={split: _duplicates(one) for split, one in splits.items()},
        shared=_shared(train, evaluation),
        tiny={split: _of_side(one, data.image_size / _SMALL) for split, one in splits.items()},
        huge={split: np.flatnonzero(one.sizes.prod(axis=1) > _HUGE).tolist() for split, one in splits.items()},
        problems=[],
        notes=list(data.warnings),
    )
    for split, one in splits.items():
        _judge_labels(data, one, split, found)
        _judge_images(data, one, split, found)
    _judge_shared(evaluation, found)
    if data.class_lists:
        found.problems.append(data.class_lists)
    return found


def class_counts(data: CheckedData, one: Survey) -> np.ndarray:
    """Returns the number of examples with each label, [C] int64; C is at least the number of training classes."""
    return np.bincount(one.labels[one.labels != UNKNOWN], minlength=len(data.train.class_names))


def tiny_side(image_size: int) -> float:
    """Returns the shorter side in pixels below which an image counts as tiny for inputs of `image_size` pixels."""
    return image_size / _SMALL


def _of_side(one: Survey, below: float) -> list[int]:
    return np.flatnonzero(one.readable & (one.sizes.min(axis=1) < below)).tolist()


def _duplicates(one: Survey) -> Duplicates:
    rows = np.flatnonzero(one.readable)
    _, first, inverse = np.unique(one.digests[rows], return_index=True, return_inverse=True)
    earlier = rows[first[inverse]]
    repeated = rows != earlier
    pairs = list(zip(rows[repeated].tolist(), earlier[repeated].tolist(), strict=True))
    return Duplicates(pairs, [(row, other) for row, other in pairs if one.labels[row] != one.labels[other]])


def _shared(train: Survey, evaluation: Survey) -> list[tuple[int, int]]:
    trained = np.flatnonzero(train.readable)
    digests, first = np.unique(train.digests[trained], return_index=True)
    rows = np.flatnonzero(evaluation.readable & np.isin(evaluation.digests, digests))
    places = trained[first[np.searchsorted(digests, evaluation.digests[rows])]]
    return list(zip(rows.tolist(), places.tolist(), strict=True))


def _judge(found: Findings, one: Survey, split: str, count: int, words: str) -> None:
    """Adds a sentence about `count` images of a split to the problems if they exceed 1 %, else to the notes.

    Args:
      found: the findings so far.
      one: the survey of the split.
      split: 'train' or 'eval'.
      count: number of images; 0: adds nothing.
      words: end of the sentence: what is wrong with these images, and the cure.
    """
    total = len(one.labels)
    if count:
        sentences = found.problems if count > _MANY * total else found.notes
        sentences.append(f"{split}: {count:,} of {total:,} images {words}")


def _judge_labels(data: CheckedData, one: Survey, split: str, found: Findings) -> None:
    if one.mislabeled:
        first = next(iter(one.mislabeled.values()))
        found.problems.append(
            f"{split}: {len(one.mislabeled):,} labels are out of range, for example: {printable(first)}"
        )
    names = data.train.class_names
    absent = [printable(names[label]) for label in np.flatnonzero(class_counts(data, one)[: len(names)] == 0)]
    if absent and split == "train":
        found.problems.append(
            f"train: no image of {len(absent):,} of {len(names):,} classes ({some_of(absent)}): add images, or remove "
            "the classes"
        )
    if split == "train" and len(names) < 2:
        found.problems.append(
            "train: there is a single class, so there is nothing to learn: add images of other classes"
        )
    other = len(found.duplicates[split].other_class)
    _judge(found, one, split, other, "with the pixels of one of another class: decide on one class")


def _judge_images(data: CheckedData, one: Survey, split: str, found: Findings) -> None:
    unreadable, total = len(one.unreadable), len(one.labels)
    if unreadable > data.max_bad_examples:
        found.problems.append(
            f"{split}: {unreadable:,} of {total:,} images cannot be read, more than config.data.max_bad_examples="
            f"{data.max_bad_examples}, so that a run would stop: repair or remove them"
        )
    else:
        treated = "others would replace them" if split == "train" else "they would count as wrong"
        _judge(found, one, split, unreadable, f"cannot be read; {treated}: repair or remove them")
    rotated = (
        "with an EXIF orientation, which training ignores, so that it sees them rotated: rotate their pixels, "
        "for example with 'mogrify -auto-orient'"
    )
    _judge(found, one, split, len(one.unusual.get(ROTATED, ())), rotated)
    _judge(found, one, split, len(one.unusual.get(BLANK, ())), "of one color: remove them")
    tiny = (
        f"with a side below {tiny_side(data.image_size):g} pixels, enlarged more than {_SMALL} times for "
        f"config.data.image_size={data.image_size}: train at a smaller size, or remove them"
    )
    _judge(found, one, split, len(found.tiny[split]), tiny)
    noted = {
        f"with more than {_HUGE / 1e6:g} megapixels: shrink them, to read faster": len(found.huge[split]),
        "with the pixels of an earlier one: keep one of each, unless this is intended": len(
            found.duplicates[split].within
        ),
    }
    found.notes.extend(f"{split}: {count:,} of {total:,} images {words}" for words, count in noted.items() if count)


def _judge_shared(evaluation: Survey, found: Findings) -> None:
    words = "with the pixels of a training image, so the accuracy would be too high: remove them from one of the splits"
    _judge(found, evaluation, "eval", len(found.shared), words)
