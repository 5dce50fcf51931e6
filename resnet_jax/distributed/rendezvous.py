"""How the processes of a run find each other: all connect to process 0, which names those that do not come."""

import contextlib
import json
import platform
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import ProcessLostError, UsageError

_PAUSE = 0.2  # seconds between two tries to reach process 0
_HELLO_SECONDS = 5.0  # that a connection has to say who it is: it may be a port scanner
_HOST_GONE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000))


class Connections(NamedTuple):
    """The processes of a run, come together."""

    hosts: tuple[str, ...]  # name of the machine of each process
    connections: dict[int, socket.socket]  # process 0: to all the others; the others: to process 0


class ProcessSpec(NamedTuple):
    """One process's place among all."""

    coordinator: str  # 'host:port' of process 0
    num_processes: int
    process_id: int
    local_devices: Sequence[int] | None = None  # indices of those that are its own; None: all of its machine


def connect_all(spec: ProcessSpec, *, timeout: float) -> Connections:
    """Waits for all processes.

    The port is free again once all are there; the connections stay.

    Args:
      spec: of this process.
      timeout: in seconds.

    Raises:
      ProcessLostError: some have not come by then.
      UsageError: they do not agree on how many and who they are.
    """
    deadline = time.monotonic() + timeout
    if spec.process_id == 0:
        return _receive(spec, deadline, timeout)
    return _go_there(spec, deadline, timeout)


def encode(message: dict[str, Any]) -> bytes:
    """One message as a line of JSON."""
    return json.dumps(message).encode() + b"\n"


def _receive(spec: ProcessSpec, deadline: float, timeout: float) -> Connections:
    """Process 0: waits for the others, and tells them how it went."""
    here: dict[int, socket.socket] = {}
    hosts = {0: platform.node()}
    try:
        with _listen(spec.coordinator) as server:
            while len(hosts) < spec.num_processes:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    raise ProcessLostError(_missing(hosts, spec, timeout)) from None
                _forget_the_gone(here, hosts)
                _welcome(connection, spec, here, hosts)
                if len(hosts) == spec.num_processes:
                    _forget_the_gone(here, hosts)
        names = tuple(hosts[number] for number in range(spec.num_processes))
        _tell(here, {"hosts": names})
    except UsageError as error:
        _tell(here, {"error": str(error), "status": error.exit_status})
        _close(here)
        raise
    return Connections(names, here)


def _listen(coordinator: str) -> socket.socket:
    port = coordinator.rpartition(":")[2]
    dual = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual, backlog=1024)
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"process 0 cannot listen on port {port} ({getattr(error, 'strerror', None) or error}): is another "
            "process 0 at work? Take another port in --coordinator=HOST:PORT"
        ) from None


def _welcome(
    connection: socket.socket, spec: ProcessSpec, here: dict[int, socket.socket], hosts: dict[int, str]
) -> None:
    """Takes in a process that has come; lets go what is none.

    Raises:
      UsageError: it has the number of another one, or knows of another number of processes.
    """
    try:
        connection.settimeout(_HELLO_SECONDS)
        hello = _read_line(connection)
        number, count, host = int(hello["process_id"]), int(hello["num_processes"]), str(hello["host"])
    except (OSError, ValueError, KeyError, TypeError):
        connection.close()
        return
    problem = None
    if count != spec.num_processes:
        problem = f"process {number} ({host}) was told of {count} processes, process 0 of {spec.num_processes}"
    elif number in hosts:
        problem = f"two processes have the number {number} ({hosts.get(number)}, {host})"
    if problem:
        problem += ": give them the right --num_processes and --process_id"
        _tell({number: connection}, {"error": problem, "status": UsageError.exit_status})
        connection.close()
        raise UsageError(problem)
    _make_lasting(connection)
    here[number], hosts[number] = connection, host


def _go_there(spec: ProcessSpec, deadline: float, timeout: float) -> Connections:
    """Every other process: goes to process 0 and waits for its word."""
    connection = _connect(spec, deadline, timeout)
    try:
        hello = {"process_id": spec.process_id, "num_processes": spec.num_processes, "host": platform.node()}
        connection.sendall(encode(hello))
        # Process 0 may have begun to wait later than this one.
        connection.settimeout(max(0.01, deadline - time.monotonic()) + timeout)
        answer = _read_line(connection)
    except (OSError, ValueError):
        connection.close()
        raise ProcessLostError(f"process 0 at {spec.coordinator} is gone: start all processes again") from None
    if "error" in answer:
        connection.close()
        raise (ProcessLostError if answer["status"] == ProcessLostError.exit_status else UsageError)(answer["error"])
    _make_lasting(connection)
    return Connections(tuple(answer["hosts"]), {0: connection})


def _connect(spec: ProcessSpec, deadline: float, timeout: float) -> socket.socket:
    host, _, port = spec.coordinator.rpartition(":")
    cause = ""
    while time.monotonic() < deadline:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=_HELLO_SECONDS)
        except (OSError, ValueError, OverflowError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            time.sleep(_PAUSE)
    raise ProcessLostError(
        f"process 0 of {spec.num_processes} is not to be found at {spec.coordinator} ({cause}) after {timeout:g} s: "
        "start it there, or name another --coordinator=HOST:PORT or a longer --join_timeout"
    )


def _missing(hosts: dict[int, str], spec: ProcessSpec, timeout: float) -> str:
    absent = [str(number) for number in range(spec.num_processes) if number not in hosts]
    some = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
    there = ", ".join(f"{number} ({host})" for number, host in sorted(hosts.items())[:8])
    return (
        f"process{'es' * (len(absent) > 1)} {some} of {spec.num_processes} did not come within {timeout:g} s "
        f"(there: {there}): start all of them, or wait longer with --join_timeout=SECONDS"
    )


def _forget_the_gone(here: dict[int, socket.socket], hosts: dict[int, str]) -> None:
    """Forgets processes that came and ended: others of their numbers may come."""
    for number, connection in list(here.items()):
        try:
            gone = connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:  # it says nothing, as it should
            gone = False
        except OSError:
            gone = True
        if gone:
            connection.close()
            del here[number], hosts[number]


def _tell(connections: dict[int, socket.socket], message: dict[str, Any]) -> None:
    for connection in connections.values():
        with contextlib.suppress(OSError):
            connection.sendall(encode(message))


def _close(connections: dict[int, socket.socket]) -> None:
    for connection in connections.values():
        connection.close()


def _read_line(connection: socket.socket) -> dict[str, Any]:
    """Raises OSError or ValueError if no whole line of JSON comes. Reads not a byte more than the line."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("closed")
        line += byte
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message


def _make_lasting(connection: socket.socket) -> None:
    """No time limit from here on, but a machine that is switched off is noticed in half a minute."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _HOST_GONE:
        if hasattr(socket, name):  # Linux has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
