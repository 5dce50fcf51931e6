"""Text for logs, tables and JSON files."""

import math
from collections.abc import Iterable, Mapping

_LABEL_WIDTH = 12  # columns of the label that starts each log line


def labelled(label: str, text: str) -> str:
    """A log line: the label in 12 columns, a space, the text."""
    return f"{label:<{_LABEL_WIDTH}} {text}"


def labelled_lines(label: str, lines: Iterable[str]) -> list[str]:
    """Log lines aligned in one block, with the label before the first line only."""
    return [labelled("" if number else label, line) for number, line in enumerate(lines)]


def printable(text: str) -> str:
    r"""Escapes characters that would break the line or control the terminal, as `\n` or `\x1b`.

    Surrogates U+DC80 to U+DCFF stay: Python decodes a file name that is not UTF-8 to them and encodes them back.
    """
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in text)


def duration(seconds: float) -> str:
    """Formats seconds as '[h:]m:ss': 3725 -> '1:02:05'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def json_number(value: float) -> float | None:
    """The value, or None if it is NaN or infinite, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def json_numbers(scalars: Mapping[str, float]) -> dict[str, float | None]:
    """`json_number` of each value."""
    return {name: json_number(value) for name, value in scalars.items()}
