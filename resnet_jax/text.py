"""Text for logs, tables and JSON files."""

import hashlib
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

_LABEL_WIDTH = 12  # columns of the label that starts each log line


def labelled(label: str, text: str) -> str:
    """Returns a log line: the label padded to 12 columns, a space, the text."""
    return f"{label:<{_LABEL_WIDTH}} {text}"


def labelled_lines(label: str, lines: Iterable[str]) -> list[str]:
    """Returns log lines whose texts start in the same column; only the first line has the label."""
    return [labelled("" if number else label, line) for number, line in enumerate(lines)]


def wrapped(text: str, width: int) -> str:
    """Breaks long lines between words; after a label, the following lines start below the text.

    A line with ' --' is left as it is: it contains a command, which the user may copy.

    Args:
      text: one or several lines.
      width: columns of the terminal; words that are longer are not broken.
    """
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width or " --" in line:
        return line
    label = line[: _LABEL_WIDTH + 1]
    is_labelled = label.endswith(" ") and "  " not in label.strip() and line[_LABEL_WIDTH + 1] != " "
    wrapper = textwrap.TextWrapper(
        width,
        subsequent_indent=" " * len(label) if is_labelled else "",
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.fill(line)


def some_of(names: Sequence[str], *, shown: int = 3) -> str:
    """Returns the first names and the number of further ones as text, such as 'a, b, c and 2 more'."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def result_name(words: Sequence[str], identity: str, *, longest: int = 30) -> str:
    """Returns a name for a directory of results, such as '808-digits-test-3f9a2c'.

    Args:
      words: parts of the name; what is not an ASCII letter, a digit, '.' or '_' becomes '-'. Empty ones are left out.
      identity: text that differs for different results; the name ends with six hexadecimal digits of its SHA-256.
      longest: number of characters to which each part is shortened.
    """
    parts = [re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")[:longest] for word in words]
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    return "-".join([*filter(None, parts), digest[:6]])


def printable(text: str) -> str:
    r"""Escapes characters that would break the line or control the terminal: a line break becomes `\n`, escape `\x1b`.

    Surrogates U+DC80 to U+DCFF are kept: Python represents the bytes of a file name that is not UTF-8 by them.
    """
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Escapes characters as `printable` does, but keeps the line breaks of a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def four_decimals(value: float) -> str:
    """Formats a number with four decimals, from 100,000 on with four digits: '0.5708', '1.235e+28', 'nan'."""
    return f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Formats seconds as '[h:]m:ss': 3725 -> '1:02:05'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def json_number(value: float) -> float | None:
    """Returns the value, or None if it is NaN or infinite, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def json_numbers(scalars: Mapping[str, float]) -> dict[str, float | None]:
    """Returns the values by name, with None for NaN and infinity, which JSON cannot represent."""
    return {name: json_number(value) for name, value in scalars.items()}
