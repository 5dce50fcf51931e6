"""Connects the processes of a run: all connect to process 0, which waits for them and reports who is missing."""

import contextlib
import logging
import platform
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from resnet_jax.distributed import handshake
from resnet_jax.distributed.lines import LONGEST_LINE, encode, read_line
from resnet_jax.distributed.listening import listen
from resnet_jax.distributed.newcomers import Newcomer, Newcomers
from resnet_jax.errors import ProcessLostError, UsageError
from resnet_jax.text import printable

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2  # seconds between two attempts to connect to process 0
_CONNECT_SECONDS = 5.0  # seconds that one attempt may take
# Process 0 waits for all processes, at most until its time limit, and then sends them its answer. The other processes
# wait for the answer until this many seconds after the time limit.
_ANSWER_SECONDS = 5.0
_LONGEST_GREETING = 4096  # most bytes of a line from a process that has not proven yet that it knows the secret
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000))


class Connections(NamedTuple):
    """The sockets of one process. Each process is connected to process 0, but no two other processes are connected."""

    hosts: tuple[str, ...]  # host name of each process, by process id
    sockets: dict[int, socket.socket]  # by id of the connected process; processes other than 0 have only the key 0
    address: str | None = None  # on process 0: 'host:port' at which it listened, None for all addresses; elsewhere None


class ProcessSpec(NamedTuple):
    """Describes one process of a run, and the address at which it finds process 0."""

    coordinator: str  # 'host:port' at which process 0 listens
    num_processes: int
    process_id: int  # 0 to num_processes - 1
    local_devices: Sequence[int] | None = None  # indices of the devices of the process; None: all devices of its host


def connect_all(spec: ProcessSpec, *, timeout: float, secret: bytes = b"") -> Connections:
    """Blocks until all processes of the run have connected to process 0 and proven that they know the secret.

    Process 0 then closes its listening port, on which JAX listens next. The connections stay open. Connections of other
    programs are closed; the first is reported.

    Args:
      spec: describes this process.
      timeout: seconds to wait. Process 0 waits no longer, whatever other programs send to it. The other processes, once
        connected, wait as long as process 0 does.
      secret: the secret of the run; b"": none.

    Raises:
      ProcessLostError: some processes did not connect within `timeout`.
      UsageError: processes have different --num_processes, or two processes have the same id.
    """
    deadline = time.monotonic() + timeout
    if spec.process_id == 0:
        return _accept_all(spec, deadline, timeout, secret)
    return _join(spec, deadline, timeout, secret)


def _accept_all(spec: ProcessSpec, deadline: float, timeout: float, secret: bytes) -> Connections:
    """On process 0: accepts connections of all other processes, then sends them the host names or an error."""
    joined = _Joined(spec, deadline, secret)
    try:
        listener = listen(spec.coordinator)
        with listener.server, Newcomers(listener.server, dropped=joined.report) as newcomers:
            while not joined.is_complete():
                if time.monotonic() >= deadline:
                    raise ProcessLostError(joined.missing(timeout))
                for newcomer in newcomers.receive(deadline=deadline):
                    joined.add(newcomer)
                if joined.is_complete():
                    joined.remove_ended()
        hosts = tuple(joined.hosts[number] for number in range(spec.num_processes))
        joined.send({"hosts": hosts})
    except UsageError as error:
        joined.send({"error": str(error), "status": error.exit_status})
        joined.close()
        raise
    return Connections(hosts, joined.sockets, listener.address)


class _Joined:
    """The processes that have connected to process 0 so far."""

    def __init__(self, spec: ProcessSpec, deadline: float, secret: bytes):
        self._spec, self._deadline, self._secret = spec, deadline, secret
        self._reported = False  # whether a connection that is not of this run was reported
        self.sockets: dict[int, socket.socket] = {}  # sockets of the connected processes, by process id
        self.hosts = {0: platform.node()}  # host name by process id

    def is_complete(self) -> bool:
        """Whether all processes of the run have connected."""
        return len(self.hosts) == self._spec.num_processes

    def report(self, address: str, reason: str) -> None:
        """Logs a warning about a connection that is closed because of what it sent; the first time only."""
        if not self._reported:
            self._reported = True
            logger.warning(
                "a connection from %s is ignored (%s); others like it are not reported: process 0 still waits for the "
                "other processes",
                address,
                reason,
            )

    def add(self, newcomer: Newcomer) -> None:
        """Adds a process that has connected. If it does not prove that it knows the secret, closes the connection.

        Raises:
          UsageError: another connected process has the same id, or its --num_processes differs from that of process 0.
        """
        connection, challenge, secret = newcomer.connection, newcomer.challenge, self._secret
        try:
            member = handshake.read_hello(newcomer.message, challenge=challenge, secret=secret)
        except ValueError as error:
            self.report(newcomer.address, str(error))
            _send([connection], {"refused": True})
            connection.close()
            return
        seconds = max(0.0, self._deadline - time.monotonic())
        _send([connection], handshake.welcome_message(seconds, challenge=challenge, member=member, secret=secret))
        self.remove_ended()
        if problem := self._contradiction(member.process_id, member.num_processes, member.host):
            problem += ": give them the right --num_processes and --process_id"
            _send([connection], {"error": problem, "status": UsageError.exit_status})
            connection.close()
            raise UsageError(problem)
        _keep_open(connection)
        self.sockets[member.process_id], self.hosts[member.process_id] = connection, member.host

    def _contradiction(self, number: int, count: int, host: str) -> str | None:
        wanted = self._spec.num_processes
        if count != wanted:
            return f"process {number} ({host}) was started with --num_processes={count}, process 0 with {wanted}"
        if number >= wanted:
            return f"process {number} ({host}) is not one of the {wanted} processes"
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


def _join(spec: ProcessSpec, deadline: float, timeout: float, secret: bytes) -> Connections:
    """On a process other than 0: connects to process 0 and waits for its answer."""
    connection, seconds = _find_process_0(spec, deadline, timeout, secret)
    try:
        until = time.monotonic() + seconds + _ANSWER_SECONDS
        answer = read_line(connection, deadline=until, longest=LONGEST_LINE)
        if "error" in answer:
            lost = answer["status"] == ProcessLostError.exit_status
            raise (ProcessLostError if lost else UsageError)(printable(str(answer["error"])))
        hosts = tuple(printable(str(host)) for host in answer["hosts"])
        if len(hosts) != spec.num_processes:
            raise ValueError("the answer does not have one host name for each process")
    except UsageError:
        connection.close()
        raise
    except (OSError, ValueError, KeyError, TypeError):
        connection.close()
        raise _gone(spec) from None
    _keep_open(connection)
    return Connections(hosts, {0: connection})


def _find_process_0(spec: ProcessSpec, deadline: float, timeout: float, secret: bytes) -> tuple[socket.socket, float]:
    """Tries to connect to process 0 until the deadline.

    Returns:
      The connection, and the seconds for which process 0 still waits for other processes.

    Raises:
      ProcessLostError: by the deadline, no program at the address has proven that it is process 0.
    """
    host, _, port = spec.coordinator.rpartition(":")
    cause, told = "", False
    while (seconds := deadline - time.monotonic()) > 0:
        try:
            address = (host.strip("[]"), int(port))
            connection = socket.create_connection(address, timeout=min(_CONNECT_SECONDS, seconds))
        except (OSError, ValueError, OverflowError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            time.sleep(_RETRY_SECONDS)
            continue
        try:
            return connection, _introduce(connection, spec, deadline, secret)
        except ValueError as error:
            connection.close()
            cause = str(error)
            if not told:
                logger.warning("process 0 at %s is not accepted (%s): trying again", spec.coordinator, cause)
            told = True
            time.sleep(_RETRY_SECONDS)
    raise ProcessLostError(
        f"process 0 of {spec.num_processes} cannot be reached at {spec.coordinator} ({cause}) within {timeout:g} s: "
        "start it there, or pass another --coordinator=HOST:PORT or a longer --join_timeout"
    )


def _introduce(connection: socket.socket, spec: ProcessSpec, deadline: float, secret: bytes) -> float:
    """Proves to process 0 that this process belongs to the run, and checks the proof of process 0.

    Returns:
      The seconds for which process 0 still waits for other processes.

    Raises:
      ValueError: the connection is not to process 0 of this run, or process 0 closed it without an answer, as it does
        when too many programs connect.
    """
    own = handshake.new_challenge()
    try:
        until = min(deadline, time.monotonic() + _CONNECT_SECONDS)
        challenge = handshake.read_challenge(read_line(connection, deadline=until, longest=_LONGEST_GREETING))
        hello = handshake.hello_message(
            spec.process_id, spec.num_processes, challenge=challenge, own_challenge=own, secret=secret
        )
        connection.sendall(encode(hello))
        answer = read_line(connection, deadline=deadline, longest=_LONGEST_GREETING)
    except (OSError, ValueError):
        raise ValueError("another program answers") from None
    return handshake.read_welcome(
        answer, challenge=challenge, own_challenge=own, process_id=spec.process_id, secret=secret
    )


def _gone(spec: ProcessSpec) -> ProcessLostError:
    return ProcessLostError(f"process 0 at {spec.coordinator} is gone: start all processes again")


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
