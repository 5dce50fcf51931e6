"""Starts the processes of a run on this machine, signals them and waits for their end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent


class StillRunningError(Exception):
    """Processes did not end in time."""


class Processes:
    """The processes of one start of a run. A context manager: leaving it kills those that are left."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        count: int,
        outputs: Path,
        environment: Mapping[str, str],
        program: Sequence[str] = ("main.py",),
        own_arguments: Sequence[Sequence[str]] = (),
    ):
        """Starts them; several find each other at a free port of this machine.

        Args:
          arguments: of the program.
          count: how many processes.
          outputs: directory for what they print: `<process>.out` and `<process>.err`.
          environment: all variables.
          program: what Python runs.
          own_arguments: more arguments, of each process; none: they are all alike.
        """
        outputs.mkdir(parents=True, exist_ok=True)
        self._outputs = outputs
        self._all = []
        coordinator = f"localhost:{free_port()}"
        for index in range(count):
            own = list(own_arguments[index]) if own_arguments else []
            if count > 1 and not any(argument.startswith("--coordinator") for argument in own):
                own += [f"--coordinator={coordinator}", f"--num_processes={count}", f"--process_id={index}"]
            self._all.append(self._start([*program, *arguments, *own], index, environment))

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._all:
            process.kill()
            process.wait()

    def statuses(self) -> list[int | None]:
        """The exit status of each process; -N: ended by signal N; None: it runs."""
        return [process.poll() for process in self._all]

    def wait(self, seconds: float) -> list[int]:
        """Waits until all have ended; returns their statuses. Raises StillRunningError."""
        deadline = time.monotonic() + seconds
        for index, process in enumerate(self._all):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise StillRunningError(f"process {index} still runs after {seconds:.0f} s") from None
        return [process.returncode for process in self._all]

    def send(self, number: int, to: Iterable[int] | None = None) -> None:
        """Sends a signal to some of the processes, or to all."""
        for index in range(len(self._all)) if to is None else to:
            self._all[index].send_signal(number)  # does nothing to one that has ended

    def freeze(self) -> None:
        """Makes them stand still."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on."""
        self.send(signal.SIGCONT)

    def output(self, index: int) -> str:
        """What a process has printed, stdout first."""
        return self.stdout(index) + self.stderr(index)

    def stdout(self, index: int) -> str:
        """What a process has printed to stdout."""
        return (self._outputs / f"{index}.out").read_text(errors="replace")

    def stderr(self, index: int) -> str:
        """What a process has printed to stderr."""
        return (self._outputs / f"{index}.err").read_text(errors="replace")

    def _start(self, command: Sequence[str], index: int, environment: Mapping[str, str]) -> subprocess.Popen:
        out, err = self._outputs / f"{index}.out", self._outputs / f"{index}.err"
        with out.open("w") as stdout, err.open("w") as stderr:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=dict(environment) | {"PYTHONUNBUFFERED": "1"},
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the program that starts them
            )


def cpu_environment(*, devices: int, **variables: str | Path) -> dict[str, str]:
    """The variables of this process with so many virtual CPU devices, and others."""
    settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    return os.environ | settings | {name: str(value) for name, value in variables.items()}


def free_port() -> int:
    """A port that nobody listens at, at the moment."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
