"""The result of a check: a level (OK, skipped, warning or error) and one line of text with the cure."""

from typing import NamedTuple

from resnet_jax.text import labelled, printable

OK, SKIPPED, WARNING, ERROR = "OK", "skipped", "warning", "error"


class Finding(NamedTuple):
    """The result of a check."""

    level: str  # OK; SKIPPED: not checked; WARNING: a run may be slow or fail later; ERROR: a run cannot start
    subject: str  # what was checked, in at most 12 characters
    text: str  # what was found; in a warning or an error followed by ': ' and what the user can do

    def line(self) -> str:
        """Returns the line for the log."""
        return labelled(self.subject, f"{self.level:<8} {printable(self.text)}")


def ok(subject: str, text: str) -> Finding:
    """Returns a finding without a problem."""
    return Finding(OK, subject, text)


def skipped(subject: str, reason: str) -> Finding:
    """Returns a finding that says why nothing was checked, and what the user can do to have it checked."""
    return Finding(SKIPPED, subject, reason)


def warning(subject: str, problem: str, *, cure: str) -> Finding:
    """Returns a finding of a problem with which a run may be slow or fail later."""
    return Finding(WARNING, subject, f"{problem}: {cure}")


def error(subject: str, problem: str, *, cure: str) -> Finding:
    """Returns a finding of a problem with which a run cannot start."""
    return Finding(ERROR, subject, f"{problem}: {cure}")
