"""Parses command lines of main.py in forked processes: reads a JSON list of them, writes the list of their errors.

JAX is not loaded: the processes are forked from one that has only loaded the parser.
"""

import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from resnet_jax.errors import UsageError
from resnet_jax.programs import command_line, help_page, main


def parse(words: Sequence[str]) -> str:
    """Parses the flags of a command and builds its config; returns the error message, '' if there is none."""
    if help_page.is_asked_for(words):
        return ""
    output = io.StringIO()
    sys.argv = ["main.py", *words]
    with redirect_stderr(output), redirect_stdout(io.StringIO()):
        try:
            main._command(command_line.parse(sys.argv)[1:])
        except UsageError as error:
            return str(error)
        except SystemExit as ended:
            return output.getvalue() if ended.code else ""
    return ""


def in_a_fork(words: Sequence[str]) -> str:
    """Returns the result of `parse` in a new process: flags are global and can be parsed only once."""
    reader, writer = os.pipe()
    if not os.fork():
        with os.fdopen(writer, "w") as stream:
            stream.write(parse(words))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        message = stream.read()
    os.wait()
    return message


if __name__ == "__main__":
    json.dump([in_a_fork(words) for words in json.load(sys.stdin)], sys.stdout)
