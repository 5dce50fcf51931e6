"""Connects the processes of a run: all connect to process 0, which waits for them and reports missing ones by id."""

import contextlib
import platform
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from resnet_jax.distributed.lines import Newcomers, encode, read_line
from resnet_jax.errors import ProcessLostError, UsageError

_RETRY_SECONDS = 0.2  # seconds between two attempts to connect to process 0
_CONNECT_SECONDS = 5.0  # seconds that one attempt may take
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000))


class Connections(NamedTuple):
    """The sockets of one process. Each process is connected to process 0; others are not connected to each other."""

    hosts: tuple[str, ...]  # host name of each process, by process id
    sockets: dict[int, socket.socket]  # by id of the peer: on process 0 all others, on others only process 0


class ProcessSpec(NamedTuple):
    """Describes one process of a run, and the address at which it finds process 0."""

    coordinator: str  # 'host:port' at which process 0 listens
    num_processes: int
    process_id: int  # 0 to num_processes - 1
    local_devices: Sequence[int] | None = None  # indices of the devices of the process; None: all of its host


def connect_all(spec: ProcessSpec, *, timeout: float) -> Connections:
    """Blocks until all processes of the run have connected to process 0.

    Process 0 then closes its listening port, on which JAX listens next. The connections stay open.

    Args:
      spec: describes this process.
      timeout: seconds to wait.

    Raises:
      ProcessLostError: some processes did not connect within `timeout`.
      UsageError: processes have different --num_processes, or two processes have the same id.
    """
    deadline = time.monotonic() + timeout
    if spec.process_id == 0:
        return _accept_all(spec, deadline, timeout)
    return _join(spec, deadline, timeout)


def _accept_all(spec: ProcessSpec, deadline: float, timeout: float) -> Connections:
    """On process 0: accepts connections of all other processes, then sends them the host names or an error."""
    joined = _Joined(spec)
    try:
        with _listen(spec.coordinator) as server, Newcomers(server) as newcomers:
            while not joined.is_complete():
                if time.monotonic() >= deadline:
                    raise ProcessLostError(joined.missing(timeout))
                for connection, hello in newcomers.receive(deadline=deadline):
                    joined.add(connection, hello)
                if joined.is_complete():
                    joined.remove_ended()
        hosts = tuple(joined.hosts[number] for number in range(spec.num_processes))
        joined.send({"hosts": hosts})
    except UsageError as error:
        joined.send({"error": str(error), "status": error.exit_status})
        joined.close()
        raise
    return Connections(hosts, joined.sockets)


class _Joined:
    """The processes that have connected to process 0 so far."""

    def __init__(self, spec: ProcessSpec):
        self._spec = spec
        self.sockets: dict[int, socket.socket] = {}  # by process id, without process 0
        self.hosts = {0: platform.node()}  # host name by process id

    def is_complete(self) -> bool:
        """Whether all processes of the run have connected."""
        return len(self.hosts) == self._spec.num_processes

    def add(self, connection: socket.socket, hello: dict[str, Any]) -> None:
        """Adds the process that sent `hello`. If a foreign program sent `hello`, closes the connection instead.

        Raises:
          UsageError: the process has the id of another process, or another --num_processes than process 0.
        """
        try:
            number, count, host = int(hello["process_id"]), int(hello["num_processes"]), str(hello["host"])
        except (ValueError, KeyError, TypeError, OverflowError):
            connection.close()
            return
        self.remove_ended()
        if problem := self._contradiction(number, count, host):
            problem += ": give them the right --num_processes and --process_id"
            _send([connection], {"error": problem, "status": UsageError.exit_status})
            connection.close()
            raise UsageError(problem)
        if not 0 <= number < count:  # sent by a foreign program: this one checks --process_id
            connection.close()
            return
        _keep_open(connection)
        self.sockets[number], self.hosts[number] = connection, host

    def _contradiction(self, number: int, count: int, host: str) -> str | None:
        wanted = self._spec.num_processes
        if count != wanted:
            return f"process {number} ({host}) was started with --num_processes={count}, process 0 with {wanted}"
        if number in self.hosts:
            return f"two processes have --process_id={number} ({self.hosts[number]}, {host})"
        return None

    def remove_ended(self) -> None:
        """Removes processes that ended after they had connected, so that replacements with the same ids may connect."""
        for number, connection in list(self.sockets.items()):
            try:
                ended = connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:  # the connection is open and has sent nothing more
                ended = False
            except OSError:
                ended = True
            if ended:
                connection.close()
                del self.sockets[number], self.hosts[number]

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message to every process that has connected."""
        _send(self.sockets.values(), message)

    def close(self) -> None:
        """Closes the connections to all processes."""
        for connection in self.sockets.values():
            connection.close()

    def missing(self, timeout: float) -> str:
        """Returns the error message with the ids of the processes that did not connect within `timeout` seconds."""
        absent = [str(number) for number in range(self._spec.num_processes) if number not in self.hosts]
        names = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        present = ", ".join(f"{number} ({host})" for number, host in sorted(self.hosts.items())[:8])
        return (
            f"process{'es' * (len(absent) > 1)} {names} of {self._spec.num_processes} did not connect within "
            f"{timeout:g} s (connected: {present}): start all of them, or wait longer with --join_timeout=SECONDS"
        )


def _listen(coordinator: str) -> socket.socket:
    port = coordinator.rpartition(":")[2]
    dual = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual, backlog=1024)
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"process 0 cannot listen on port {port} ({getattr(error, 'strerror', None) or error}): if another run "
            "uses the port, choose another one in --coordinator=HOST:PORT"
        ) from None


def _join(spec: ProcessSpec, deadline: float, timeout: float) -> Connections:
    """On a process other than 0: connects to process 0 and waits for its answer."""
    connection = _connect(spec, deadline, timeout)
    try:
        hello = {"process_id": spec.process_id, "num_processes": spec.num_processes, "host": platform.node()}
        connection.sendall(encode(hello))
        # Process 0 waits until `timeout` after its own start, which may be later than that of this process.
        answer = read_line(connection, deadline=max(deadline, time.monotonic()) + timeout)
    except (OSError, ValueError):
        connection.close()
        raise ProcessLostError(f"process 0 at {spec.coordinator} is gone: start all processes again") from None
    if "error" in answer:
        connection.close()
        raise (ProcessLostError if answer["status"] == ProcessLostError.exit_status else UsageError)(answer["error"])
    _keep_open(connection)
    return Connections(tuple(answer["hosts"]), {0: connection})


def _connect(spec: ProcessSpec, deadline: float, timeout: float) -> socket.socket:
    """Tries to connect to process 0 until the deadline. Raises ProcessLostError if that fails."""
    host, _, port = spec.coordinator.rpartition(":")
    cause = ""
    while time.monotonic() < deadline:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS)
        except (OSError, ValueError, OverflowError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            time.sleep(_RETRY_SECONDS)
    raise ProcessLostError(
        f"process 0 of {spec.num_processes} cannot be reached at {spec.coordinator} ({cause}) within {timeout:g} s: "
        "start it there, or pass another --coordinator=HOST:PORT or a longer --join_timeout"
    )


def _send(connections: Iterable[socket.socket], message: dict[str, Any]) -> None:
    """Sends a message on each connection; ignores connections that are lost."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(encode(message))


def _keep_open(connection: socket.socket) -> None:
    """Removes the timeout of a socket and turns on TCP keepalive, which detects within 30 s that a host is down."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux has all four options, other systems may not
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
