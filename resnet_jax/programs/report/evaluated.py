"""The part of report.html about an evaluation: accuracy, confusion matrix, confused classes, most confident errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data.sources import example_ids
from resnet_jax.data.sources.source import Source
from resnet_jax.errors import UsageError
from resnet_jax.programs.evaluation.answers import StoredAnswers
from resnet_jax.programs.report.contents import Evaluated
from resnet_jax.programs.report.html import cards, table, text
from resnet_jax.programs.report.pictures import thumbnail

_MOST_CLASSES = 16  # maximum number of classes for which the confusion matrix is shown
_PAIRS, _IMAGES_OF_PAIR, _WORST = 6, 6, 24

Draw = Callable[[int], str]  # maps the index of an example to its <img>; '' if it cannot be shown


class Images(NamedTuple):
    """The images of the evaluation set."""

    source: Source
    max_pixels: int  # largest number of pixels that an image may have


def evaluation(evaluated: Evaluated, images: Images | None) -> str:
    """Returns the HTML of an evaluation.

    Args:
      evaluated: the certificate of the evaluation, and the prediction for each image.
      images: the evaluation set; an image is shown only if its ID is that of the evaluated image. None: none are shown.
    """
    parts = [_title(evaluated.certificate), cards(_numbers(evaluated.certificate))]
    stored = evaluated.answers
    if stored is None:
        return "\n".join([*parts, "<p>It has no answers.npz: evaluate again to see the images that were confused.</p>"])
    draw = _drawing(stored, images)
    wrong = np.flatnonzero(~stored.right & (stored.label >= 0) & (stored.top[:, 0] >= 0))
    parts += [_confusion(stored), _pairs(stored, wrong, draw), _worst(stored, wrong, draw)]
    return "\n".join(part for part in parts if part)


def _title(certificate: dict[str, Any]) -> str:
    weights = certificate.get("weights", {})
    about = f"{certificate['data']['name']}, {certificate['eval']['count']:,} images"
    return f"<h3>{text(about)}</h3><p class='faint'>weights of step {text(weights.get('step', '?'))}</p>"


def _numbers(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    scalars, interval = certificate["eval"], (certificate.get("interval") or {}).get("top1")
    calibration = certificate.get("calibration") or {}
    values = [("top-1", _percent(scalars["top1"]))]
    if interval:
        values.append(("95 % interval of top-1", f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"))
    values.append(("top-5", _percent(scalars.get("top5"))))
    values += [(name, f"{number:.4g}") for name, number in (("loss", scalars.get("loss")),) if number is not None]
    values += [("calibration error (ECE)", _percent(calibration.get("ece")))]
    return values


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _confusion(stored: StoredAnswers) -> str:
    """Returns the confusion matrix as a table; '' if there are more than `_MOST_CLASSES` classes."""
    count = len(stored.names)
    if count > _MOST_CLASSES:
        return ""
    known = (stored.label >= 0) & (stored.top[:, 0] >= 0)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (stored.label[known], stored.top[known, 0]), 1)
    rows = [
        [text(stored.names[k]), *(_cell(value, int(row.sum()), right=j == k) for j, value in enumerate(row.tolist()))]
        for k, row in enumerate(matrix)
    ]
    head = ["label \\ answer", *map(text, stored.names)]
    return f"<h3>Confusion</h3>{table(rows, head=head, numbers=range(1, count + 1))}"


def _cell(value: int, total: int, *, right: bool) -> str:
    """Returns a count of the confusion matrix as HTML; the larger its share of the row, the stronger the background."""
    if not value:
        return '<span class="faint">·</span>'
    color = "var(--s0)" if right else "var(--s1)"
    share = round(15 + 70 * value / max(1, total))
    return f'<span style="background:color-mix(in srgb,{color} {share}%,transparent);padding:1px 5px">{value:,}</span>'


def _drawing(stored: StoredAnswers, images: Images | None) -> Draw:
    """Returns a function from the index of an example to its <img>, or '' if the source has another example there."""

    def draw(row: int) -> str:
        if images is None or len(images.source) != len(stored.ids):
            return ""
        try:
            name = next(iter(example_ids(images.source, [row]))).encode("utf-8", "surrogateescape")
            return thumbnail(images.source[row].image, images.max_pixels) if name == stored.ids[row] else ""
        except (OSError, ValueError, UsageError):
            return ""

    return draw


def _pairs(stored: StoredAnswers, wrong: np.ndarray, draw: Draw) -> str:
    """Returns the most frequent pairs of label and wrong prediction, each with images of its most confident errors."""
    pairs, counts = np.unique(np.stack([stored.label[wrong], stored.top[wrong, 0]]), axis=1, return_counts=True)
    parts = []
    for number in np.argsort(-counts, kind="stable")[:_PAIRS].tolist():
        label, answer = pairs[:, number].tolist()
        rows = wrong[(stored.label[wrong] == label) & (stored.top[wrong, 0] == answer)]
        total = int((stored.label == label).sum())
        about = f"{stored.names[label]} taken for {stored.names[answer]}: {counts[number]:,} of {total:,}"
        shown = _by_confidence(stored, rows)[:_IMAGES_OF_PAIR]
        parts.append(f"<p>{text(about)}</p>{_images(stored, shown, draw, with_names=False)}")
    return f"<h3>Most confused pairs</h3>{''.join(parts)}" if parts else ""


def _worst(stored: StoredAnswers, wrong: np.ndarray, draw: Draw) -> str:
    if not len(wrong):
        return "<p>Every image was classified correctly.</p>"
    shown = _by_confidence(stored, wrong)[:_WORST]
    images = _images(stored, shown, draw, with_names=True)
    about = f"<h3>Most confident errors</h3><p class='faint'>{len(shown)} of {len(wrong):,}</p>"
    return about + (images or _list(stored, shown))


def _by_confidence(stored: StoredAnswers, rows: np.ndarray) -> list[int]:
    order: list[int] = rows[np.argsort(-np.nan_to_num(stored.probability[rows, 0]), kind="stable")].tolist()
    return order


def _images(stored: StoredAnswers, rows: Sequence[int], draw: Draw, *, with_names: bool) -> str:
    """Returns the images of some examples with captions; '' if none can be shown."""
    figures = []
    for row in rows:
        drawn = draw(row)
        answer, label = stored.names[stored.top[row, 0]], stored.names[stored.label[row]]
        caption = f"{100 * stored.probability[row, 0]:.0f} %"
        if with_names:
            caption = f'<span class="bad">{text(answer)}</span> {caption}<br>is {text(label)}'
        name = text(stored.ids[row].decode("utf-8", "backslashreplace"))
        figures += [f'<figure title="{name}">{drawn}<figcaption>{caption}</figcaption></figure>'] if drawn else []
    return f'<div class="images">{"".join(figures)}</div>' if figures else ""


def _list(stored: StoredAnswers, rows: Sequence[int]) -> str:
    cells = [
        (
            f"<code>{text(stored.ids[row].decode('utf-8', 'backslashreplace'))}</code>",
            text(stored.names[stored.label[row]]),
            text(stored.names[stored.top[row, 0]]),
            f"{100 * stored.probability[row, 0]:.1f} %",
        )
        for row in rows
    ]
    return table(cells, head=("image", "label", "answer", "probability"), numbers=[3])
