"""The socket on which process 0 listens: only at the address that the other processes are given, where possible."""

import errno
import ipaddress
import socket
from typing import NamedTuple

from resnet_jax.distributed.secret import is_loopback
from resnet_jax.errors import UsageError


class Listener(NamedTuple):
    """A listening socket, and where it listens."""

    server: socket.socket
    address: str | None  # 'host:port' at which the socket listens; None: at all addresses of this machine


def listen(coordinator: str) -> Listener:
    """Returns a socket that listens at the address of process 0.

    The socket listens at all addresses of the machine if the host in `coordinator` is not one of them, as behind a
    network address translation, or is a name that resolves only to loopback addresses on this machine, as on Debian.

    Args:
      coordinator: 'host:port' of process 0.

    Raises:
      UsageError: the port is not a valid number, or is in use.
    """
    host, _, port = coordinator.rpartition(":")
    try:
        for address in _addresses(host.strip("[]")):
            try:
                return _listen_at(address, int(port))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
        if is_loopback(host):
            raise OSError(errno.EADDRNOTAVAIL, f"{host} is no address of this machine")
        return _listen_everywhere(int(port))
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"process 0 cannot listen on port {port} ({getattr(error, 'strerror', None) or error}): if another run "
            "uses the port, choose another one in --coordinator=HOST:PORT"
        ) from None


def _addresses(host: str) -> list[str]:
    """Returns the IP addresses of a host, without loopback addresses unless `host` is 'localhost' or one of them."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):  # the host name cannot be resolved
        return []
    if not is_loopback(host):
        found = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    return list(dict.fromkeys(found))


def _listen_at(address: str, port: int) -> Listener:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, port), family=family, backlog=1024)
    return Listener(server, f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def _listen_everywhere(port: int) -> Listener:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return Listener(socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=1024), None)
