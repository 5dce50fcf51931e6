"""Runs one trainer in its own process and executes steps on request.

`side_by_side.py` runs `python -m benchmarks.step_process REQUEST`, where REQUEST is JSON with the name of the trainer
and its task. The process prints a line of JSON when it is ready. Then it reads numbers of steps from stdin, one per
line, executes each and prints its seconds as JSON. On an error it prints the error as JSON and ends.
"""

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU

from benchmarks.trainers import Task, load

_NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory")


def main(request: dict[str, Any]) -> None:
    """Executes requests until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # prints of libraries go to stderr, so that stdout carries only JSON
    try:
        what, run = load(request["trainer"]).make(Task(**request["task"]))
        answers.write(json.dumps({"what": what}) + "\n")
        for line in sys.stdin:
            start = time.perf_counter()
            run(int(line))
            answers.write(json.dumps({"seconds": time.perf_counter() - start}) + "\n")
    except ImportError as error:
        answers.write(json.dumps({"error": f"not installed ({error})"}) + "\n")
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_MEMORY):
            raise
        answers.write(json.dumps({"error": "out of memory"}) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
