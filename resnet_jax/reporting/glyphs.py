"""Shortens and replaces text for pictures: names of classes may be long, or need glyphs that the font lacks."""

from matplotlib.font_manager import FontProperties, findfont, get_font


def drawable(text: str, other: str, *, max_length: int = 24) -> str:
    """Returns `text` on one line of at most `max_length` characters, or `other` if the font lacks a glyph of `text`.

    `other` is not shortened; characters of `other` that the font lacks are left out.
    """
    line = " ".join(text.split())
    short = line if len(line) <= max_length else line[: max_length - 1] + "…"
    return short if short and _has_glyphs(short) else "".join(filter(_has_glyphs, other))


def _has_glyphs(text: str) -> bool:
    glyphs = get_font(findfont(FontProperties())).get_charmap()
    return all(ord(character) in glyphs for character in text)
