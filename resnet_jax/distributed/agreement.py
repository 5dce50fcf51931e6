"""Makes all processes get the same result or raise the same error."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax

from resnet_jax.errors import UsageError

Gather = Callable[[str], list[str]]  # all-gather of one text per process, ordered by process id


def alone(text: str) -> list[str]:
    """The `Gather` function of a run of one process: returns a list that holds only `text`."""
    return [text]


def from_first(gather: Gather, action: Callable[[], Any], *, cure: str) -> Any:
    """Runs `action` on process 0 only. All processes return its result, or raise its error.

    Args:
      gather: an all-gather; every process must call this function.
      action: function without arguments that returns JSON values.
      cure: what the user can do about an OSError of `action`, for the end of the error message.

    Returns:
      What `action` returned on process 0, after a round trip through JSON.

    Raises:
      UsageError: `action` raised a UsageError or an OSError on process 0.
    """
    problem, result = "", None
    if jax.process_index() == 0:
        try:
            result = action()
        except OSError as error:
            problem = f"{error.filename or 'a file'}: {error.strerror or error}: {cure}"
        except UsageError as error:
            problem = str(error)
    problem, result = json.loads(gather(json.dumps([problem, result]))[0])
    if problem:
        raise UsageError(problem)
    return result


def raise_alike(gather: Gather, problem: Exception | None, *, kinds: Sequence[type[Exception]]) -> None:
    """Raises the same error on all processes if any process passes an error; otherwise returns.

    Args:
      gather: an all-gather; every process must call this function.
      problem: the error of this process, an instance of one of `kinds`; None: no error.
      kinds: error types in order of precedence. If several processes have an error, the type that comes first in
        `kinds` is raised; among errors of the same type, the one of the process with the lowest id.
    """
    names = [kind.__name__ for kind in kinds]
    own = None if problem is None else [names.index(type(problem).__name__), str(problem)]
    answers = [json.loads(text) for text in gather(json.dumps(own))]
    problems = [(*answer, process) for process, answer in enumerate(answers) if answer is not None]
    if problems:
        kind, message, process = min(problems, key=lambda found: found[0])
        source = f"process {process}: " if len(answers) > 1 else ""
        raise kinds[kind](source + message) from problem
