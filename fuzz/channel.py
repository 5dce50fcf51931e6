"""Target 'channel': a line from another process is a valid message, or it is one ValueError; no proof can be forged."""

import json
import socket
from typing import Any

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.distributed import handshake
from resnet_jax.distributed.lines import decode, encode, read_lines
from resnet_jax.distributed.messages import OWN_KINDS, check_fields, read_message

_SECRET = b"0123456789abcdef"
_CHALLENGE, _OWN_CHALLENGE = "0" * 64, "1" * 64
_HELLO = handshake.hello_message(1, 3, challenge=_CHALLENGE, own_challenge=_OWN_CHALLENGE, secret=_SECRET)
_MEMBER = handshake.read_hello(_HELLO, challenge=_CHALLENGE, secret=_SECRET)
_WELCOME = handshake.welcome_message(300.0, challenge=_CHALLENGE, member=_MEMBER, secret=_SECRET)
_MESSAGES = [
    {"kind": "text", "from": 1, "round": 3, "text": "abc"},
    {"kind": "leave", "from": 1, "status": 75, "text": "over"},
    {"kind": "gone", "from": 2, "stalled": True},
    {"kind": "done", "from": 0},
    {"kind": "point", "from": 2, "point": 7},
]
_PROCESSES = 3


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged messages, and for JSON objects with fields of messages and any values."""
    scalars = strategies.one_of(
        strategies.none(), strategies.booleans(), strategies.integers(), strategies.floats(), strategies.text()
    )
    values = strategies.recursive(
        scalars,
        lambda part: strategies.one_of(
            strategies.lists(part, max_size=3), strategies.dictionaries(strategies.text(), part, max_size=3)
        ),
    )
    known = [_HELLO, _WELCOME, handshake.challenge_message(_CHALLENGE), *_MESSAGES]
    names = strategies.sampled_from(sorted({name for message in known for name in message}))
    changes = strategies.dictionaries(names, values, max_size=3)
    changed = strategies.builds(
        lambda message, change: encode(message | change), strategies.sampled_from(known), changes
    )
    nested = strategies.builds(lambda depth, part: part * depth, strategies.integers(1, 10**5), _opening())
    return strategies.one_of(damaged([encode(message) for message in known]), changed, nested, strategies.binary())


def check(data: bytes) -> None:
    """Reads the data in each way in which a process reads what another one has sent."""
    with silent():
        for line in _lines(data):
            for sender in (None, 1):
                _check_message(line, sender)
        try:
            message = decode(data)
        except ValueError as error:
            check_message(error)
            return
        _check_handshake(message)


def _lines(data: bytes) -> list[bytes]:
    """Returns the lines that a process reads from a connection on which `data` arrive."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data[: 1 << 16])  # what the buffer of the connection can hold
        there.shutdown(socket.SHUT_WR)
        lines = list(read_lines(here))
    assert b"".join(lines) == data[: 1 << 16][: sum(map(len, lines))]
    return lines


def _check_message(line: bytes, sender: int | None) -> None:
    try:
        message = read_message(line, num_processes=_PROCESSES, sender=sender)
    except ValueError as error:
        check_message(error)
        return
    assert type(message["from"]) is int
    assert message["from"] in ((sender,) if sender else range(_PROCESSES))
    if message["kind"] in OWN_KINDS:
        check_fields(message, OWN_KINDS[message["kind"]])
    assert message["kind"] != "leave" or message["status"] in range(1, 256)


def _check_handshake(message: dict[str, Any]) -> None:
    """The only valid proofs are those of the messages that were made with the secret."""
    try:
        assert handshake.read_hello(message, challenge=_CHALLENGE, secret=_SECRET) == _MEMBER
    except ValueError as error:
        check_message(error)
    try:
        seconds = handshake.read_welcome(
            message, challenge=_CHALLENGE, own_challenge=_OWN_CHALLENGE, process_id=1, secret=_SECRET
        )
        assert seconds == _WELCOME["seconds"]
    except ValueError as error:
        check_message(error)
    try:
        assert len(handshake.read_challenge(message)) == len(_CHALLENGE)
    except ValueError as error:
        check_message(error)
    assert json.dumps(message)


def _opening() -> SearchStrategy[bytes]:
    return strategies.sampled_from([b"[", b'{"a":', b'{"kind":[', b'"', b"\\u"])


TARGET = Target(inputs, check)
