"""Text for logs, tables and JSON: layout, escaping, numbers."""

import json
import math
import re

import pytest

from resnet_jax.text import (
    four_decimals,
    json_number,
    json_numbers,
    labelled,
    labelled_lines,
    printable,
    result_name,
    wrapped,
)


def test_a_label_takes_twelve_columns():
    assert labelled("data", "digits") == "data         digits"
    assert labelled_lines("time", ["1 s", "2 s"]) == ["time         1 s", "             2 s"]
    assert labelled("a label longer than that", "text") == "a label longer than that text"


def test_long_lines_continue_below_the_text_of_their_label():
    line = labelled("first step", "after 12.3 s (import 2.0, start 1.0)")
    assert wrapped(line, 80) == line
    assert wrapped(line, 36).split("\n") == [
        "first step   after 12.3 s (import",
        "             2.0, start 1.0)",
    ]
    assert wrapped("Stopped after step 5, which is saved", 20) == "Stopped after step\n5, which is saved"


def test_rows_of_tables_and_long_words_are_not_broken():
    table = labelled("rate", "epoch   step   rate") + "\n" + labelled("", " 0.00      0      0")
    assert wrapped(table, 32) == table
    path = labelled("results", "/a/very/long/path/of/a/run/result.json, train.log")
    assert wrapped(path, 20).split("\n") == [
        "results",
        "             /a/very/long/path/of/a/run/result.json,",
        "             train.log",
    ]


def test_commands_are_not_broken():
    line = labelled("TensorBoard", ".venv/bin/tensorboard --logdir runs/mine")
    assert wrapped(line, 20) == line


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.57081, "0.5708"),
        (99_999.25, "99999.2500"),
        (-3.0, "-3.0000"),
        (1.2346e28, "1.235e+28"),
        (-2e5, "-2e+05"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_large_numbers_have_an_exponent(value, text):
    assert four_decimals(value) == text


def test_numbers_that_json_cannot_hold_become_null():
    assert [json_number(value) for value in (0.5, math.nan, math.inf, -math.inf)] == [0.5, None, None, None]
    assert json.dumps(json_numbers({"loss": math.nan, "top1": 1.0}), allow_nan=False) == '{"loss": null, "top1": 1.0}'


def test_names_of_results_are_safe_and_differ_with_the_identity():
    name = result_name(["runs/ä b", "", "-x.y_Z" + "z" * 40], "one")
    assert re.fullmatch(r"runs-b-x\.y_Zz{25}-[0-9a-f]{6}", name), name
    assert name != result_name(["runs/ä b", "", "-x.y_Z" + "z" * 40], "two")
    assert re.fullmatch("[0-9a-f]{6}", result_name(["..", "é"], "\udcff"))
