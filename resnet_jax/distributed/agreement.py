"""How processes come to do the same thing when what they find may differ."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax

from resnet_jax.errors import UsageError

Gather = Callable[[str], list[str]]  # hands the text of each process to all, in their order


def alone(text: str) -> list[str]:
    """The `Gather` of a single process."""
    return [text]


def from_first(gather: Gather, action: Callable[[], Any], *, cure: str) -> Any:
    """Does something in process 0; returns its result in all processes, or raises its error in all of them.

    Args:
      gather: all processes call it.
      action: returns JSON values.
      cure: what to do where the file system refuses.

    Raises:
      UsageError: the file system refused, or the action raised it.
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
    """Raises in all processes if one of them has a problem.

    Args:
      gather: all processes call it.
      problem: that of this process, of one of `kinds`.
      kinds: the first that any process has is raised.
    """
    names = [kind.__name__ for kind in kinds]
    own = None if problem is None else [names.index(type(problem).__name__), str(problem)]
    answers = [json.loads(text) for text in gather(json.dumps(own))]
    problems = [(*answer, index) for index, answer in enumerate(answers) if answer is not None]
    if problems:
        kind, message, index = min(problems, key=lambda found: found[0])
        where = f"process {index}: " if len(answers) > 1 else ""
        raise kinds[kind](where + message) from problem
