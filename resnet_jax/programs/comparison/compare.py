"""Compares groups of runs: tests whether their accuracies, overall and in each class, differ by more than chance."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.programs.comparison.runs import Run
from resnet_jax.programs.comparison.statistics import (
    CONFIDENCE,
    Estimate,
    cochran,
    holm,
    mcnemar,
    over_images,
    over_seeds,
)
from resnet_jax.programs.evaluation.wilson import wilson

AGAINST = "vs"  # the argument on the command line that separates groups of runs


class Group(NamedTuple):
    """One run, or several runs that differ only in their seeds."""

    letter: str
    words: tuple[str, ...]  # the runs, as given on the command line
    right: np.ndarray  # [S, N] bool, whether each of the S runs classified each of the N images correctly
    weights: tuple[str, ...]  # for each run a description of the weights that were evaluated

    @property
    def accuracy(self) -> float:
        """The mean accuracy, 0 to 1."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The Wilson interval of the accuracy of a single run; None for a group of several runs."""
        return wilson(int(self.right.sum()), self.right.size) if len(self.right) == 1 else None


class Difference(NamedTuple):
    """The difference between the accuracies of two groups."""

    first: str  # letter of the first group
    second: str
    estimate: Estimate  # accuracy of the second group minus that of the first
    p: float  # p-value, adjusted by Holm's method for all pairs of groups
    told_apart: bool
    only_first: int  # number of images that only the first group classified correctly, summed over the seeds
    only_second: int


class ClassDifference(NamedTuple):
    """The difference between the accuracies of two groups in one class."""

    first: str
    second: str
    number: int  # index of the class
    images: int  # number of images of the class
    only_first: int  # number of these images that only the first group classified correctly, summed over the seeds
    only_second: int
    p: float  # p-value, adjusted by Holm's method for all classes and pairs of groups
    told_apart: bool


class Comparison(NamedTuple):
    """The result of a comparison."""

    groups: list[Group]
    names: tuple[str, ...]  # names of the classes
    omnibus: tuple[float, float] | None  # Cochran's Q and its p-value for more than two single runs, else None
    differences: list[Difference]  # one for each pair of groups
    classes: list[ClassDifference]  # one for each pair of groups and each class that has images

    @property
    def images(self) -> int:
        """The number of images on which the runs are compared."""
        return self.groups[0].right.shape[1]

    @property
    def seeds(self) -> int:
        """The number of runs in each group."""
        return len(self.groups[0].right)


def grouped(words: Sequence[str]) -> list[list[str]]:
    """Returns the groups of runs on a command line: 'a b' is two groups of one, 'a1 a2 vs b1 b2' two groups of two.

    Raises:
      UsageError: there are fewer than two groups, or they have different sizes.
    """
    separators = [position for position, word in enumerate(words) if word == AGAINST]
    ends = [-1, *separators, len(words)]
    groups = [list(words[start + 1 : end]) for start, end in itertools.pairwise(ends)]
    if not separators:
        groups = [[word] for word in words]
    if len(groups) < 2 or not all(groups):
        raise UsageError(
            "--mode=compare needs two runs or more: --mode=compare RUN RUN, or, to compare over seeds, the runs of A, "
            f"the word {AGAINST}, and the runs of B with the same seeds in the same order: RUN RUN {AGAINST} RUN RUN"
        )
    if len(set(map(len, groups))) > 1:
        sizes = f" {AGAINST} ".join(str(len(group)) for group in groups)
        raise UsageError(f"the groups have {sizes} runs: name as many runs, of the same seeds, in each group")
    if len(groups) > 26:
        raise UsageError(f"{len(groups)} runs are more than 26: compare fewer at once")
    return groups


def compare(groups: Sequence[Sequence[Run]]) -> Comparison:
    """Compares groups of equally many runs that were evaluated on the same images.

    Single runs are compared by paired tests over the images, groups of several runs by a paired t-test over the seeds.
    """
    made = [
        Group(
            letter=chr(ord("A") + k),
            words=tuple(run.word for run in runs),
            right=np.stack([run.answers.right for run in runs]),
            weights=tuple(run.weights for run in runs),
        )
        for k, runs in enumerate(groups)
    ]
    answers = groups[0][0].answers
    number = answers.subject["classes"]["number"]
    # A run stores a negative label for an image that it could not read; the label then comes from another run.
    labels = np.max([run.answers.label for runs in groups for run in runs], axis=0)
    single = len(made[0].right) == 1
    omnibus = cochran(np.concatenate([group.right for group in made])) if single and len(made) > 2 else None
    differs = omnibus is None or omnibus[1] < 1 - CONFIDENCE
    pairs = list(itertools.combinations(made, 2))
    return Comparison(
        groups=made,
        names=answers.names[:number],
        omnibus=omnibus,
        differences=_differences(pairs, differs=differs),
        classes=_class_differences(pairs, labels, number),
    )


def _differences(pairs: Sequence[tuple[Group, Group]], *, differs: bool) -> list[Difference]:
    """Tests each pair of groups. If Cochran's test is not significant (`differs` is False), no pair is told apart."""
    estimates = [_estimate(first, second) for first, second in pairs]
    adjusted = holm(np.array([estimate.p for estimate in estimates])).tolist()
    return [
        Difference(
            first=first.letter,
            second=second.letter,
            estimate=estimate,
            p=p,
            told_apart=differs and p < 1 - CONFIDENCE,
            only_first=int((first.right & ~second.right).sum()),
            only_second=int((second.right & ~first.right).sum()),
        )
        for (first, second), estimate, p in zip(pairs, estimates, adjusted, strict=True)
    ]


def _estimate(first: Group, second: Group) -> Estimate:
    if len(first.right) == 1:
        return over_images(first.right[0], second.right[0])
    return over_seeds(second.right.mean(axis=1) - first.right.mean(axis=1))


def _class_differences(pairs: Sequence[tuple[Group, Group]], labels: np.ndarray, number: int) -> list[ClassDifference]:
    found = [one for first, second in pairs for one in _in_classes(first, second, labels, number)]
    adjusted = holm(np.array([one.p for one in found])).tolist()
    return [one._replace(p=p, told_apart=p < 1 - CONFIDENCE) for one, p in zip(found, adjusted, strict=True)]


def _in_classes(first: Group, second: Group, labels: np.ndarray, number: int) -> list[ClassDifference]:
    """Compares two groups in each of `number` classes that has images; the p-values are not yet adjusted."""
    counts = np.bincount(labels[labels >= 0], minlength=number)
    only_first = _per_class(first.right & ~second.right, labels, number)
    only_second = _per_class(second.right & ~first.right, labels, number)
    if len(first.right) == 1:
        p = mcnemar(only_first[0], only_second[0])
    else:
        shares = (only_second - only_first) / np.maximum(1, counts)
        p = np.array([over_seeds(column).p for column in shares.T])
    sums = np.stack([counts, only_first.sum(axis=0), only_second.sum(axis=0)], axis=1).tolist()
    return [
        ClassDifference(first.letter, second.letter, k, images, one, other, p=float(p[k]), told_apart=False)
        for k, (images, one, other) in enumerate(sums)
        if images
    ]


def _per_class(marked: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    """Returns the number of marked images of each class: `marked` [S, N] bool, `labels` [N] -> [S, number]."""
    readable = labels >= 0
    return np.stack([np.bincount(labels[row & readable], minlength=number) for row in marked])


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as JSON values, without `classes`, which are written to `classes.csv` instead."""
    omnibus = comparison.omnibus
    return {
        "images": comparison.images,
        "seeds": comparison.seeds,
        "confidence": CONFIDENCE,
        "runs": [
            {
                "letter": group.letter,
                "runs": list(group.words),
                "weights": list(group.weights),
                "top1": group.right.mean(axis=1).tolist(),
                "interval": group.interval,
            }
            for group in comparison.groups
        ],
        "cochran": omnibus and {"q": omnibus[0], "p": omnibus[1]},
        "differences": [
            {**one._asdict(), "estimate": {key: _finite(value) for key, value in one.estimate._asdict().items()}}
            for one in comparison.differences
        ],
        "method": "McNemar exact, interval of Tango 1998" if comparison.seeds == 1 else "paired t over seeds",
        "correction": "Holm",
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
