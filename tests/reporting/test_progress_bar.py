"""A progress bar is shown on a terminal and in a notebook (tests/notebooks), not in the log of nohup or Slurm."""

import io
import logging
import sys

import pytest

from resnet_jax.reporting.progress import Progress, show_log

SCALARS = {"images_per_second": 10.0, "images_per_second_per_device": 10.0, "loss": 0.5, "epoch": 1.0, "top1": 0.25}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stderr, stdout, monkeypatch, *, visible=True):
    """What a process shows of two steps on stderr and on stdout."""
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdout", stdout)
    show_log()
    with Progress(start=0, total_steps=2, visible=visible) as progress:
        for step in (1, 2):
            progress.advance()
            progress.train(step, SCALARS | {"lr": 0.1})
        logging.getLogger("resnet_jax.test").info("a line")
    return stderr.getvalue(), stdout.getvalue()


def test_a_terminal_has_a_bar_and_no_lines_of_metrics(monkeypatch):
    bar, lines = shown(Terminal(), Terminal(), monkeypatch)
    assert "2/2" in bar and "loss 0.5" in bar and bar.endswith("\n")
    assert lines == "a line\n"


@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
def test_a_log_has_lines_and_no_bar(monkeypatch, stdout):
    bar, lines = shown(io.StringIO(), stdout(), monkeypatch)
    assert bar == "" and "\r" not in lines
    assert lines.count("step ") == 2 and lines.endswith("a line\n")


def test_only_process_0_shows_a_bar(monkeypatch):
    assert shown(Terminal(), Terminal(), monkeypatch, visible=False)[0] == ""


def test_a_notebook_has_a_bar_although_its_stderr_is_no_terminal(monkeypatch):
    monkeypatch.setattr("resnet_jax.reporting.progress._IN_NOTEBOOK", True)
    bar, lines = shown(io.StringIO(), io.StringIO(), monkeypatch)
    assert "2/2" in bar and lines == "a line\n"
