"""The first messages of a connection: process 0 and another process prove that they are of the same run.

1. Process 0 sends a random number, its challenge.
2. The other process sends its id, its host name, the number of processes, a challenge of its own, and a proof.
3. Process 0 checks the proof, and sends the number of seconds for which it still waits, and its own proof.

A proof is the HMAC-SHA256 (RFC 2104), with the secret of the run as key, of both challenges and of the content of the
message. The secret itself is never sent, and a recorded proof is useless for another connection.
"""

import hashlib
import hmac
import json
import platform
import secrets
from typing import Any, NamedTuple

from resnet_jax.distributed.lines import is_number
from resnet_jax.text import printable

MOST_PROCESSES = 1 << 20
_LONGEST_HOST = 255  # maximum length of a host name in characters (RFC 1035)
_MOST_SECONDS = 1e9


class Member(NamedTuple):
    """The process that sent the second message, as the message describes it; its proof has been verified."""

    process_id: int
    num_processes: int  # the --num_processes with which the process was started
    host: str
    challenge: str  # the challenge that the process sent to process 0


def new_challenge() -> str:
    """Returns a random number of 256 bits, as hexadecimal digits."""
    return secrets.token_hex(32)


def challenge_message(challenge: str) -> dict[str, Any]:
    """Returns the first message, which process 0 sends."""
    return {"challenge": challenge}


def read_challenge(message: dict[str, Any]) -> str:
    """Returns the challenge in the first message. Raises ValueError if the message is of another program."""
    return _challenge(message)


def hello_message(process_id: int, num_processes: int, *, challenge: str, own_challenge: str, secret: bytes) -> dict:
    """Returns the second message.

    Args:
      process_id: number of this process.
      num_processes: the --num_processes with which this process was started.
      challenge: the challenge that process 0 sent.
      own_challenge: the challenge that this process sends to process 0.
      secret: the secret of the run.
    """
    host = platform.node()[:_LONGEST_HOST]
    proof = _prove(secret, "hello", challenge, own_challenge, process_id, num_processes, host)
    return {
        "process_id": process_id,
        "num_processes": num_processes,
        "host": host,
        "challenge": own_challenge,
        "proof": proof,
    }


def read_hello(message: dict[str, Any], *, challenge: str, secret: bytes) -> Member:
    """Returns the process that sent the second message. Raises ValueError if the message or its proof is not valid."""
    values: list[Any] = [message.get(name) for name in ("process_id", "num_processes", "host", "proof")]
    number, count, host, proof = values
    own_challenge = _challenge(message)
    if not (is_number(number, MOST_PROCESSES) and is_number(count, MOST_PROCESSES)):
        raise ValueError("the client sent no process id or number of processes")
    if not (isinstance(host, str) and len(host) <= _LONGEST_HOST):
        raise ValueError("the client sent no host name")
    if not _is_proof(proof, secret, "hello", challenge, own_challenge, number, count, host):
        raise ValueError("the client does not have the secret of this run, RESNET_JAX_SECRET")
    return Member(number, count, printable(host), own_challenge)


def welcome_message(seconds: float, *, challenge: str, member: Member, secret: bytes) -> dict[str, Any]:
    """Returns the third message, which says that process 0 waits `seconds` longer for the other processes."""
    return {
        "seconds": seconds,
        "proof": _prove(secret, "welcome", challenge, member.challenge, member.process_id, seconds),
    }


def read_welcome(
    message: dict[str, Any], *, challenge: str, own_challenge: str, process_id: int, secret: bytes
) -> float:
    """Returns from the third message for how many seconds process 0 still waits. Raises ValueError if it is invalid."""
    seconds: Any = message.get("seconds")
    if type(seconds) not in (int, float) or not 0 <= seconds <= _MOST_SECONDS:
        raise ValueError("RESNET_JAX_SECRET differs from that of process 0, or another program answers")
    if not _is_proof(message.get("proof"), secret, "welcome", challenge, own_challenge, process_id, seconds):
        raise ValueError("RESNET_JAX_SECRET differs from that of process 0")
    return float(seconds)


def _challenge(message: dict[str, Any]) -> str:
    challenge = message.get("challenge")
    if not (isinstance(challenge, str) and len(challenge) == len(new_challenge())):
        raise ValueError("the client is another program")
    return challenge


def _prove(secret: bytes, *content: Any) -> str:
    return hmac.new(secret, json.dumps(content).encode(), hashlib.sha256).hexdigest()


def _is_proof(proof: Any, secret: bytes, *content: Any) -> bool:
    return isinstance(proof, str) and hmac.compare_digest(proof.encode(), _prove(secret, *content).encode())
