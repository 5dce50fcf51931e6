"""Text for logs, tables and JSON: layout, escaping, numbers."""

import json
import math

import pytest

from resnet_jax.text import json_number, json_numbers, labelled, labelled_lines, printable


def test_a_label_takes_twelve_columns():
    assert labelled("data", "digits") == "data         digits"
    assert labelled_lines("time", ["1 s", "2 s"]) == ["time         1 s", "             2 s"]
    assert labelled("a label longer than that", "text") == "a label longer than that text"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("übung ✓", "übung ✓"),
        ("two\nlines\tand a tab", "two\\nlines\\tand a tab"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("caf\udce9.jpg", "caf\udce9.jpg"),  # a Latin-1 file name, decoded with surrogateescape
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable_is_one_line_that_controls_no_terminal(text, expected):
    assert printable(text) == expected


def test_numbers_that_json_cannot_hold_become_null():
    assert [json_number(value) for value in (0.5, math.nan, math.inf, -math.inf)] == [0.5, None, None, None]
    assert json.dumps(json_numbers({"loss": math.nan, "top1": 1.0}), allow_nan=False) == '{"loss": null, "top1": 1.0}'
