"""Pieces of HTML: escaped text, tables, cards."""

import html
from collections.abc import Iterable, Sequence

from resnet_jax.text import printable


def text(value: object) -> str:
    """Returns a value as text in HTML: special characters are escaped, unprintable ones are replaced."""
    return html.escape(printable(str(value)).encode("utf-8", "backslashreplace").decode())


def section(title: str, *parts: str, name: str = "") -> str:
    """Returns a section with a heading; '' if it has no content."""
    content = "\n".join(part for part in parts if part)
    return (
        f'<section id="{name or title.lower().replace(" ", "-")}"><h2>{text(title)}</h2>\n{content}\n</section>'
        if content
        else ""
    )


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), numbers: Sequence[int] = ()) -> str:
    """Returns a table; the cells are HTML.

    Args:
      rows: cells of each row.
      head: cells of the header row; (): no header row.
      numbers: indices of the columns that contain numbers, which are aligned to the right.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        marks = (' class="n"' if number in numbers else "" for number in range(len(row)))
        return "".join(f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(row, marks, strict=True))

    above = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else ""
    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table>{above}<tbody>{body}</tbody></table></div>' if body else ""


def cards(values: Iterable[tuple[str, str]]) -> str:
    """Returns a row of cards, each with a value in large type and its name below.

    Args:
      values: (name, value) of each card; pairs with the value '' are skipped.
    """
    shown = "".join(f'<div class="card"><b>{text(v)}</b><span>{text(name)}</span></div>' for name, v in values if v)
    return f'<div class="cards">{shown}</div>'
