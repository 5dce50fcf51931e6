import random
import threading

import pytest

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.stop_requests import StopRequests
from tests.distributed.local_channels import Ends, channels, together

SECONDS = 30


class Devices:
    """Step s of a process ends once all processes have begun it, like a collective operation."""

    def __init__(self, count):
        self._begun, self._changed = [0] * count, threading.Condition()

    def begin(self, process, step):
        with self._changed:
            self._begun[process] = step
            self._changed.notify_all()

    def wait_for(self, step):
        with self._changed:
            assert self._changed.wait_for(lambda: min(self._begun) >= step, SECONDS), "a process waits for ever"


def train(process, requests, devices, *, steps, look):
    """A training loop: calls `look`, begins a step, waits for the previous one. Returns its last step and its saves."""
    saved = []
    for step in range(steps):
        look(process, step)
        stopped = requests.stop_here()
        if requests.save_here():
            saved.append(step)
        if stopped:
            return step, saved
        devices.begin(process, step + 1)
        devices.wait_for(step)
    return steps, saved


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_processes_stop_and_save_at_the_same_step(count, seed):
    generator = random.Random(f"{count} {seed}")
    asked = {}  # (process, step) -> kinds of the requests made there
    for kind, times in (("save", generator.randrange(4)), ("stop", generator.randint(1, 3))):
        for _ in range(times):
            where = (generator.randrange(count), generator.randrange(60))
            asked.setdefault(where, []).append(kind)
    first = min(step for (_, step), kinds in asked.items() if "stop" in kinds)

    def run(made):
        requests = [StopRequests() for _ in made]
        for channel, request in zip(made, requests, strict=True):
            request.connect(channel)
            request.begin()
        devices = Devices(count)

        def look(process, step):
            for kind in asked.get((process, step), ()):
                requests[process].ask(kind, "SIGTEST")

        return together(lambda n: train(n, requests[n], devices, steps=20_000, look=look), range(count))

    if count == 1:
        ends = run([Channel()])
    else:
        with channels(count) as made:
            ends = run(made)
    assert len({stopped for stopped, _ in ends}) == 1
    assert all(saved == ends[0][1] for _, saved in ends)
    assert first <= ends[0][0] < 20_000
    if count == 1:  # at that step, or after saves that were requested just before
        assert ends[0][0] <= first + 3
        assert {step for (_, step), kinds in asked.items() if "save" in kinds and step < first} <= set(ends[0][1])


def test_a_stop_is_permanent_and_a_save_is_reported_once():
    requests = StopRequests()
    requests.begin()
    assert not requests.stop_here() and not requests.stop_asked() and not requests.save_here()
    requests.ask("save", "SIGUSR1")
    assert not requests.stop_here()
    assert requests.save_here() and not requests.save_here()
    requests.ask("stop", "SIGTERM")
    assert requests.stop_asked()
    assert requests.stop_here() and requests.stop_here()


def test_a_problem_of_one_process_stops_all_at_the_same_step(caplog):
    with channels(3) as made:
        requests = [StopRequests() for _ in made]
        for channel, request in zip(made, requests, strict=True):
            request.connect(channel)
            request.begin()

        def look(process, step):
            if (process, step) == (2, 5):
                requests[2].stop_because("a worker is lost: use fewer")

        devices = Devices(3)
        ends = together(lambda n: train(n, requests[n], devices, steps=20_000, look=look), range(3))
    assert len({stopped for stopped, _ in ends}) == 1 and 5 <= ends[0][0] < 20_000
    assert caplog.messages == ["a worker is lost: use fewer; all processes save and stop"]


def test_a_program_that_saves_nothing_ignores_requests_to_save(caplog):
    requests = StopRequests()
    with caplog.at_level("INFO", logger="resnet_jax"):
        requests.ask("save", "SIGUSR1")
        requests.begin(saves=False)
        requests.ask("save", "SIGUSR1")
    assert not requests.stop_here() and not requests.save_here()
    assert caplog.messages == ["SIGUSR1 ignored: an evaluation has no training state to save"] * 2


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_a_stop_before_begin_ends_all_processes(asked, monkeypatch):
    monkeypatch.setattr(
        "resnet_jax.distributed.channel._WAIT_TO_LEAVE", 0.2
    )  # the tests only record the end of a process
    with channels(3, ends := Ends()) as made:
        requests = [StopRequests() for _ in made]
        for channel, request in zip(made, requests, strict=True):
            request.connect(channel)
        requests[2].begin()  # process 2 has compiled already, the others have not
        requests[asked].ask("stop", "SIGTERM")
        seen = ends.wait_for({0, 1, 2})
    assert {status for status, _ in seen.values()} == {75}
    line = "Stopped before the first step of this start: run the same command again."
    assert all(text.endswith(line) for _, text in seen.values())
