"""Broadcasts process 0's result or error; raises one process's error on all processes."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax

from resnet_jax.errors import UsageError

Gather = Callable[[str], list[str]]  # all-gather of one text per process, ordered by process id


def alone(text: str) -> list[str]:
    """The `Gather` of a single process."""
    return [text]


def from_first(gather: Gather, action: Callable[[], Any], *, cure: str) -> Any:
    """Runs `action` on process 0 and broadcasts its result, or raises its error, on all processes.

    Args:
      gather: an all-gather; every process must make this call.
      action: returns JSON values.
      cure: what the user can do about an OSError, for the message.

    Returns:
      What `action` returned on process 0, after a round trip through JSON.

    Raises:
      UsageError: `action` raised it, or raised an OSError.
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
    """Raises the same error on all processes if any process has one; else returns.

    Args:
      gather: an all-gather; every process must make this call.
      problem: the error of this process, an instance of one of `kinds`; None if it has none.
      kinds: error types in order of precedence: of several errors the one whose type comes first is raised, and of
        several of one type that of the lowest process id.
    """
    names = [kind.__name__ for kind in kinds]
    own = None if problem is None else [names.index(type(problem).__name__), str(problem)]
    answers = [json.loads(text) for text in gather(json.dumps(own))]
    problems = [(*answer, process) for process, answer in enumerate(answers) if answer is not None]
    if problems:
        kind, message, process = min(problems, key=lambda found: found[0])
        source = f"process {process}: " if len(answers) > 1 else ""
        raise kinds[kind](source + message) from problem
