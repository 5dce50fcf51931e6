"""One trainer in a process of its own, which stays and makes steps when it is asked to.

`side_by_side.py` runs `python -m benchmarks.step_process REQUEST` with the name of the trainer and its task as JSON.
The process answers with a line of JSON when it is ready, and then, for each number of steps on its stdin, with the
seconds that they took; or with an error, and ends.
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
    """Serves until its stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
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
