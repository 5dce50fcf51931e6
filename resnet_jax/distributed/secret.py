"""The secret that the processes of a run share, and the addresses on which process 0 may listen without one."""

import ipaddress
import os
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.local_paths import kind_of

_VARIABLE, _FILE_VARIABLE = "RESNET_JAX_SECRET", "RESNET_JAX_SECRET_FILE"
_SHORTEST = 16  # fewest bytes of a secret; a shorter one could be guessed
_LONGEST = 4096  # most bytes of the file that holds the secret
_MAKE_ONE = "make one with `openssl rand -hex 32`"


def find_secret(coordinator: str, *, trust_network: bool) -> bytes:
    """Returns the secret from the environment; b"" if there is none and none is needed.

    Args:
      coordinator: 'host:port' of process 0.
      trust_network: whether no secret is needed, because only trusted machines can reach process 0.

    Raises:
      UsageError: the secret cannot be read or is too short, or there is none although other machines can reach
        process 0.
    """
    variable = os.environ.get(_VARIABLE, "")
    given = variable.strip()
    if variable and (not given or not given.isprintable()):
        raise UsageError(f"{_VARIABLE} is not a text: {_MAKE_ONE}, or unset the variable")
    secret = given.encode() or _read_file(os.environ.get(_FILE_VARIABLE, ""))
    if secret and len(secret) < _SHORTEST:
        raise UsageError(f"the secret of the run is shorter than {_SHORTEST} characters: {_MAKE_ONE}")
    if not secret and not trust_network and not is_loopback(coordinator.rpartition(":")[0]):
        raise UsageError(
            f"the processes have no secret, and other machines can reach process 0 at {coordinator}: set {_VARIABLE} "
            f"to the same random text for all processes ({_MAKE_ONE}), or {_FILE_VARIABLE} to a file that contains it; "
            "or pass --trust_network if only trusted machines are on the network; --num_processes=1 runs alone"
        )
    return secret


def is_loopback(host: str) -> bool:
    """Whether `host` is 'localhost' or a loopback address, which only this machine can reach.

    Other names count as reachable even if they resolve to a loopback address here: Debian resolves the name of the
    machine itself to 127.0.1.1, and other machines resolve it to an address of the network.
    """
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_file(name: str) -> bytes:
    if not name:
        return b""
    if (kind := kind_of(name)) not in ("a file", "nothing"):  # reading a named pipe or a device might never end
        raise UsageError(f"{_FILE_VARIABLE}={name} is {kind}: name a file with the secret")
    try:
        with Path(name).open("rb") as file:
            secret = file.read(_LONGEST + 1).strip()
        if len(secret) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} bytes")
        if secret.decode(errors="ignore").encode() != secret:
            raise ValueError("it is not text")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UsageError(f"{_FILE_VARIABLE}={name} cannot be read ({cause}): {_MAKE_ONE} > {name}") from None
    if not secret:
        raise UsageError(f"{_FILE_VARIABLE}={name} is empty: {_MAKE_ONE} > {name}")
    return secret
