"""The errors that end a run with a message instead of a traceback."""


class UsageError(Exception):
    """Bad usage, config or data: one line that says what was got, what was wanted and the cure."""

    exit_status = 2


class NonFiniteError(Exception):
    """The loss or the gradient stopped being finite."""

    exit_status = 3
