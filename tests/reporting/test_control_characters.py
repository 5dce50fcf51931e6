"""Names of files and classes may hold characters that control a terminal: none reaches the screen or a log."""

import io
import logging

import pytest

from resnet_jax.programs.command_line import fail
from resnet_jax.reporting.progress import keep_log, show_log

NAME = "a\x1b[2J\x07\x9b1m\u202e\r.jpg"  # clears the screen, rings, another escape, right to left, start of the line


@pytest.fixture
def _package_logger():
    package = logging.getLogger("resnet_jax")
    before = package.handlers, package.propagate, package.level
    yield
    package.handlers, package.propagate = before[:2]
    package.setLevel(before[2])


@pytest.mark.usefixtures("_package_logger")
def test_log_lines(tmp_path):
    stream = io.StringIO()
    stream.isatty = lambda: False
    show_log(stream=stream)
    with keep_log(tmp_path / "train.log"):
        logging.getLogger("resnet_jax.any").warning("%s cannot be read\nsecond line", NAME)
    for text in (stream.getvalue(), (tmp_path / "train.log").read_text()):
        assert text.endswith(r"a\x1b[2J\x07\x9b1m\u202e\r.jpg cannot be read" + "\nsecond line\n")
        assert all(line.isprintable() for line in text.splitlines())


def test_the_line_of_an_error(capsys):
    with pytest.raises(SystemExit):
        fail(f"{NAME} is missing: copy it")
    assert capsys.readouterr().err == "error: " + r"a\x1b[2J\x07\x9b1m\u202e\r.jpg is missing: copy it" + "\n"
