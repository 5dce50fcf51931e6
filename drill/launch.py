"""Starts the processes of a run on this machine, sends them signals and waits for them to end."""

import contextlib
import hashlib
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
    """A process did not end in time."""


class Processes:
    """The processes of one start of a run. A context manager: leaving it kills those that still run."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        count: int,
        outputs: Path,
        environment: Mapping[str, str],
        program: Sequence[str] = ("main.py",),
        own_arguments: Sequence[Sequence[str]] = (),
        as_group: bool = False,
    ):
        """Starts the processes. If there are several, they connect at a free port of this machine.

        Each has a process group of its own, which its worker processes belong to.

        Args:
          arguments: command-line arguments of the program.
          count: number of processes.
          outputs: directory for their output: `<process>.out` and `<process>.err`.
          environment: all environment variables.
          program: arguments of Python that start the program.
          own_arguments: additional arguments of each process; empty: none.
          as_group: let launch/local.sh start the processes, in one group. It then is the only process of this object.
        """
        outputs.mkdir(parents=True, exist_ok=True)
        self._outputs = outputs
        self._all = []
        if as_group and count > 1:
            self._all.append(self._start(["launch/local.sh", str(count), *arguments], 0, environment))
            return
        coordinator = f"localhost:{free_port()}"
        for index in range(count):
            own = list(own_arguments[index]) if own_arguments else []
            if count > 1 and not any(argument.startswith("--coordinator") for argument in own):
                own += [f"--coordinator={coordinator}", f"--num_processes={count}", f"--process_id={index}"]
            self._all.append(self._start([sys.executable, *program, *arguments, *own], index, environment))

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._all:
            _send_to_group(process, signal.SIGKILL)
            process.wait()

    def statuses(self) -> list[int | None]:
        """The exit status of each process; -N: ended by signal N; None: still running."""
        return [process.poll() for process in self._all]

    def wait(self, seconds: float, but: Iterable[int] = ()) -> list[int]:
        """Waits until all, except for `but`, have ended; returns the exit statuses of all. Raises StillRunningError."""
        deadline = time.monotonic() + seconds
        for index, process in enumerate(self._all):
            if index in but:
                continue
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise StillRunningError(f"process {index} still runs after {seconds:.0f} s") from None
        return [process.returncode for process in self._all]

    def send(self, number: int, to: Iterable[int] | None = None) -> None:
        """Sends a signal to the given processes; None: to all."""
        for index in range(len(self._all)) if to is None else to:
            self._all[index].send_signal(number)  # no effect on a process that has ended

    def send_to_groups(self, number: int) -> None:
        """Sends a signal to all processes and their worker processes."""
        for process in self._all:
            _send_to_group(process, number)

    def freeze(self) -> None:
        """Stops all processes and their worker processes (SIGSTOP)."""
        self.send_to_groups(signal.SIGSTOP)

    def thaw(self, but: Iterable[int] = ()) -> None:
        """Continues all processes and their worker processes (SIGCONT), except for the processes `but`."""
        for index, process in enumerate(self._all):
            if index not in but:
                _send_to_group(process, signal.SIGCONT)

    def ids(self) -> list[int]:
        """The process ids of the operating system."""
        return [process.pid for process in self._all]

    def output(self, index: int) -> str:
        """The output of a process: stdout, then stderr."""
        return self.stdout(index) + self.stderr(index)

    def stdout(self, index: int) -> str:
        """The stdout of a process."""
        return (self._outputs / f"{index}.out").read_text(errors="replace")

    def stderr(self, index: int) -> str:
        """The stderr of a process."""
        return (self._outputs / f"{index}.err").read_text(errors="replace")

    def _start(self, command: Sequence[str], index: int, environment: Mapping[str, str]) -> subprocess.Popen:
        out, err = self._outputs / f"{index}.out", self._outputs / f"{index}.err"
        with out.open("w") as stdout, err.open("w") as stderr:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(environment) | {"PYTHONUNBUFFERED": "1", "PYTHON": sys.executable},
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C must reach only the program that starts them
            )


def _send_to_group(process: subprocess.Popen, number: int) -> None:
    """Sends a signal to the group of a process that has not been waited for: its id cannot be that of another group."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def cpu_environment(*, devices: int, **variables: str | Path) -> dict[str, str]:
    """The environment of this process, with `devices` virtual CPU devices and the given variables."""
    settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    return os.environ | settings | {name: str(value) for name, value in variables.items()}


def fingerprint() -> str:
    """A hash of the files of the program. Another program may round differently."""
    files = [ROOT / "main.py", *(ROOT / "resnet_jax").rglob("*.py"), *(ROOT / "configs").rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def free_port() -> int:
    """A TCP port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
