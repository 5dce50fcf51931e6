"""A process that stands still is noticed, and one whose main thread is busy is not taken for it."""

import threading

import pytest

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.link import Link, Links
from resnet_jax.distributed.rendezvous import connect_all
from tests.distributed.local_channels import Ends, channels, process_specs, together

SECONDS = 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("resnet_jax.distributed.channel._WAIT_TO_LEAVE", 0.2)


@pytest.mark.parametrize("stopped", [0, 2])
def test_a_process_that_stands_still_is_named_by_all_others(stopped):
    """The stopped process has its connections but no threads: it reads nothing and sends nothing."""
    ends = Ends()

    def connect(spec):
        connections, number = connect_all(spec, timeout=20), spec.process_id
        if number == stopped:
            return connections
        return Channel(connections, process_id=number, stall_timeout=0.5, end_process=ends.of(number))

    made = together(connect, process_specs(3))
    others = {0, 1, 2} - {stopped}
    seen = ends.wait_for(others)
    line = (
        f"process {stopped} ({made[stopped].hosts[stopped]}) is gone, it stood still for 0.5 s (--stall_timeout): "
        "start all processes again to continue from the last checkpoint"
    )
    assert seen == dict.fromkeys(others, (75, line))
    for number in others:
        for _, link in made[number]._links.items():
            link.connection.close()
    for connection in made[stopped].sockets.values():
        connection.close()


def test_a_process_that_is_only_busy_is_not_taken_for_stopped(monkeypatch):
    """No main thread does anything while each process looks a hundred times, which is ten stall timeouts."""
    looks, enough, count = [0], threading.Event(), Link.count

    def counted(link):
        looks[0] += 1
        if looks[0] >= 3 * 100:
            enough.set()
        return count(link)

    monkeypatch.setattr(Link, "count", counted)
    with channels(3, ends := Ends(), stall_timeout=1.0):
        assert enough.wait(SECONDS)
    assert not ends.wait_for(set())


class Looks:
    """A clock for `Links.watch`: calls a function before each look."""

    def __init__(self, before):
        self._before = iter(before)

    def wait(self, _seconds):
        action = next(self._before, None)
        if action is None:
            return True
        action()
        return False


def test_silence_is_counted_in_looks_of_a_process_that_runs():
    """A process that was stopped itself has not looked meanwhile, so it takes no other for stopped."""
    links = Links({}, stall_timeout=10.0)
    links._links = {1: (one := Link(None, heartbeat=1.0)), 2: (two := Link(None, heartbeat=1.0))}

    def nothing():
        pass

    def both_send():
        one.silent = two.silent = 0

    def one_sends():
        one.silent = 0

    assert list(links.watch(Looks([nothing] * 9 + [both_send] + [nothing] * 8))) == []
    both_send()
    assert list(links.watch(Looks([one_sends] * 30))) == [2]  # once


def test_a_process_that_reads_nothing_does_not_block_the_others():
    """More is sent to one process than its connection can hold."""
    specs = process_specs(3)
    connected = together(lambda spec: connect_all(spec, timeout=20), specs)
    first, second = Channel(connected[0], process_id=0), Channel(connected[1], process_id=1)
    heard = threading.Event()
    second.on("last", lambda message: heard.set())
    for _ in range(40):
        first.send("text", round=1, text="x" * 1_000_000)
    first.send("last")
    assert heard.wait(SECONDS)
    first._done.update(range(3)), second._done.update(range(3))
    for one in connected:
        for connection in one.sockets.values():
            connection.close()
