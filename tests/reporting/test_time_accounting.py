import threading
import time
from pathlib import Path

import psutil
import pytest

from resnet_jax.reporting import time_accounting
from resnet_jax.reporting.time_accounting import PHASES, TRAINING, TimeAccounting, process_age


class Clock:
    """A clock that shows what the test sets."""

    now = 0.0

    def __call__(self):
        return self.now


class Result:
    """The result of a step; becomes ready when the test calls `ready`."""

    def __init__(self, clock):
        self._clock, self._ready, self.noted = clock, threading.Event(), threading.Event()

    def block_until_ready(self):
        assert self._ready.wait(10)
        self._clock.now = self._at

    def ready(self, at):
        """Makes the result ready at time `at`; returns when the accounting has recorded it."""
        self._at = at
        self._ready.set()
        assert self.noted.wait(10)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def accounting(clock):
    with TimeAccounting(age=2.0, clock=clock) as made:
        yield made


def dispatch(accounting, clock):
    """Dispatches a step, and after it a probe that tells when the end of the step has been recorded."""
    result = Result(clock)

    class Probe:
        def block_until_ready(self):
            result.noted.set()

    _, totals = accounting.step(lambda: (None, result))
    accounting._results.put(Probe())
    accounting._dispatched.append(float("inf"))  # of the probe: it takes no time
    assert totals is result
    return result


def spent(accounting):
    return {phase: seconds for phase, seconds in accounting.seconds().items() if seconds}


def test_phases_of_the_host_are_measured_and_the_innermost_takes_precedence(accounting, clock):
    with accounting.measure("start"):
        clock.now = 1.0
        with accounting.measure("compile"):
            clock.now = 4.0
        clock.now = 4.5
    clock.now = 5.0
    assert spent(accounting) == {"import": 2.0, "start": 1.5, "compile": 3.0, "host": 0.5}


def test_a_phase_ends_with_an_error_too(accounting, clock):
    with pytest.raises(OSError, match="gone"), accounting.measure("checkpoint"):
        clock.now = 3.0
        raise OSError("gone")
    clock.now = 4.0
    assert spent(accounting) == {"import": 2.0, "checkpoint": 3.0, "host": 1.0}


def test_time_is_that_of_the_step_while_the_devices_are_busy_whatever_the_host_does(accounting, clock):
    step = dispatch(accounting, clock)
    with accounting.measure("input"):
        step.ready(at=3.0)
        clock.now = 10.0
    assert spent(accounting) == {"import": 2.0, "step": 3.0, "input": 7.0}
    assert accounting.seconds_to_first_step == 5.0


def test_waiting_for_items_is_measured_and_using_them_is_not(accounting, clock):
    def items():
        for number in range(3):
            clock.now += 5.0
            yield number

    for _ in accounting.measure_items("input", items()):
        clock.now += 1.0
    assert spent(accounting) == {"import": 2.0, "input": 15.0, "host": 3.0}


def test_a_running_step_is_divided_between_two_calls_of_seconds(accounting, clock):
    clock.now = 1.0
    step = dispatch(accounting, clock)
    clock.now = 4.0
    first = spent(accounting)
    step.ready(at=6.0)
    clock.now = 8.0
    assert first == {"import": 2.0, "host": 1.0, "step": 3.0}
    assert spent(accounting) == {"import": 2.0, "host": 1.0 + 2.0, "step": 5.0}


def test_a_step_that_fails_at_dispatch_takes_no_time(accounting, clock):
    def fail():
        clock.now = 1.0
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        accounting.step(fail)
    assert spent(accounting) == {"import": 2.0, "host": 1.0}


def test_seconds_has_all_phases_and_training_is_some_of_them(accounting):
    assert tuple(accounting.seconds()) == PHASES
    assert set(TRAINING) < set(PHASES)


def test_the_age_of_the_process_is_that_of_the_system():
    assert process_age() == pytest.approx(time.time() - psutil.Process().create_time(), abs=1.0)


def test_the_age_of_the_process_grows_with_the_clock():
    before, start = process_age(), time.monotonic()
    while time.monotonic() < start + 0.05:
        pass
    assert 0.04 < process_age() - before < 5.0


def test_without_proc_the_age_of_the_process_is_0(monkeypatch):
    monkeypatch.setattr(time_accounting, "Path", lambda path: Path("/nowhere" + path))
    assert process_age() == 0.0
