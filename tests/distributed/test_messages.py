"""Messages that this program does not send are ignored."""

import json
import random
import socket
import threading

import pytest

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.lines import LONGEST_LINE, encode, is_number, read_lines
from resnet_jax.distributed.messages import ForeignMessageError, check_fields, read_message
from resnet_jax.distributed.rendezvous import Connections
from tests.distributed.local_channels import Ends

SECONDS = 20
LEAVE = {"kind": "leave", "from": 1, "status": 75, "text": "over"}
TEXT = {"kind": "text", "from": 1, "round": 1, "text": "a"}
FOREIGN = [
    b"\n\n"[:1] + b"x\n",
    b"GET / HTTP/1.1\r\n",
    b"[" * 100_000 + b"\n",
    b'{"a":' * 100_000 + b"\n",
    b"\xff\xfe\n",
    b"[1]\n",
    b"{}\n",
    *(
        encode(message)
        for message in (
            LEAVE | {"status": 0},
            LEAVE | {"status": 256},
            LEAVE | {"status": -9},
            LEAVE | {"status": True},
            LEAVE | {"status": "75"},
            LEAVE | {"status": 75.0},
            LEAVE | {"text": ["over"]},
            LEAVE | {"more": 1},
            LEAVE | {"from": 0},
            LEAVE | {"from": 2},
            LEAVE | {"from": -1},
            LEAVE | {"from": True},
            LEAVE | {"kind": "Leave" * 100},
            LEAVE | {"kind": None},
            {"kind": "leave", "from": 1},
            {"kind": "gone", "from": 1, "stalled": False},
            {"kind": "done", "from": 0},
            TEXT | {"round": -1},
            TEXT | {"round": 1e300},
            TEXT | {"round": None},
            TEXT | {"text": 5},
        )
    ),
    encode(TEXT).replace(b'"round": 1', b'"round": ' + b"9" * 10_000),
    encode(TEXT).replace(b'"round": 1', b'"round": Infinity'),
]


@pytest.mark.parametrize("line", FOREIGN, ids=lambda line: line[:60].decode(errors="replace"))
def test_a_foreign_message_is_refused(line):
    with pytest.raises(ForeignMessageError):
        read_message(line, num_processes=2, sender=1)


def test_foreign_messages_end_nothing_and_are_reported_once(caplog):
    here, there = socket.socketpair()
    ends = Ends()
    channel = Channel(Connections(("a", "b"), {1: here}), process_id=0, end_process=ends.of(0))
    heard = threading.Event()
    channel.on("number", lambda message: heard.set() if message["value"] == 7 else None, value=is_number)
    with caplog.at_level("WARNING", logger="resnet_jax"):
        for line in FOREIGN:
            there.sendall(line)
        there.sendall(encode({"kind": "number", "from": 1, "value": "7"}))
        there.sendall(encode({"kind": "number", "from": 1, "value": 7}))
        assert heard.wait(SECONDS)
    (message,) = caplog.messages
    assert message.startswith("a message from process 1 (b) is ignored (")
    assert not ends.wait_for(set())
    there.sendall(encode(LEAVE | {"text": "no\x1b[2J data"}))
    assert ends.wait_for({0})[0] == (75, r"process 1 (b): no\x1b[2J data")
    there.close(), here.close()


def test_a_line_that_is_too_long_is_skipped_to_its_end(monkeypatch):
    monkeypatch.setattr("resnet_jax.distributed.lines.LONGEST_LINE", 100)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"x" * 1000 + b"\nshort\n" + b"y" * 100 + b"\n" + b"z" * 99 + b"\nends here")
        there.shutdown(socket.SHUT_WR)
        lines = list(read_lines(here))
    assert lines == [b"x" * 100, b"short\n", b"y" * 100, b"z" * 99 + b"\n"]
    assert LONGEST_LINE >= 1 << 20


VALUES = [None, True, 0, 1, 2, 3, -1, 75, 256, 1 << 60, 0.5, float("inf"), float("nan"), "", "a", [], [1], {}, {"a": 1}]
KINDS = ["text", "done", "gone", "leave", "request"]


def random_line(generator):
    """Returns a line that is nearly a message: random fields, and sometimes a byte that is changed."""
    names = ["kind", "from", "round", "text", "status", "stalled"]
    message = {name: generator.choice(VALUES) for name in names if generator.random() < 0.5}
    message |= {"kind": generator.choice(KINDS), "from": generator.randrange(3)} if generator.random() < 0.8 else {}
    if generator.random() < 0.5:
        message = {"kind": "text", "from": 1, "round": 1, "text": "a"} | dict(list(message.items())[:1])
    line = bytearray(encode(message))
    if generator.random() < 0.2:
        line[generator.randrange(len(line))] = generator.randrange(256)
    return bytes(line)


def test_a_message_is_valid_or_refused():
    generator, valid = random.Random(0), 0
    for _ in range(5000):
        line = random_line(generator)
        try:
            message = read_message(line, num_processes=3, sender=None)
        except ForeignMessageError:
            continue
        valid += 1
        assert repr(message) == repr(json.loads(line))  # NaN is not equal to itself
        assert type(message["from"]) is int and 0 <= message["from"] < 3
        if message["kind"] == "leave":
            assert type(message["status"]) is int and 1 <= message["status"] <= 255 and type(message["text"]) is str
        if message["kind"] == "text":
            assert type(message["round"]) is int and type(message["text"]) is str
    assert 500 < valid < 4500


def test_fields_are_checked_by_name_and_value():
    message = {"kind": "k", "from": 0, "value": 3}
    check_fields(message, {"value": is_number})
    for fields in ({}, {"value": is_number, "other": is_number}, {"other": is_number}):
        with pytest.raises(ForeignMessageError, match="the fields of 'k' are wrong"):
            check_fields(message, fields)
    with pytest.raises(ForeignMessageError, match="'value' of 'k' is wrong"):
        check_fields(message | {"value": -1}, {"value": is_number})
