"""What a check has found: one line, OK, a warning or an error, with the cure."""

from typing import NamedTuple

from resnet_jax.text import labelled, printable

OK, WARNING, ERROR = "OK", "warning", "error"


class Finding(NamedTuple):
    """The result of a check."""

    level: str  # `OK`, `WARNING` (a run may be slow or fail later) or `ERROR` (a run cannot start)
    subject: str  # what was checked, in at most 12 characters
    text: str  # what was found; in a warning or an error followed by ': ' and what the user can do

    def line(self) -> str:
        """Returns the line for the log."""
        return labelled(self.subject, f"{self.level:<8} {printable(self.text)}")


def ok(subject: str, text: str) -> Finding:
    """Returns a finding without a problem."""
    return Finding(OK, subject, text)


def warning(subject: str, problem: str, *, cure: str) -> Finding:
    """Returns a finding of a problem with which a run may be slow or fail later."""
    return Finding(WARNING, subject, f"{problem}: {cure}")


def error(subject: str, problem: str, *, cure: str) -> Finding:
    """Returns a finding of a problem with which a run cannot start."""
    return Finding(ERROR, subject, f"{problem}: {cure}")
