import threading

import pytest

from resnet_jax.reporting.time_accounting import PHASES, TRAINING, TimeAccounting


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self):
        return self.now


class Result:
    """What a step returns: ready when it is told to be, at a time of the clock."""

    def __init__(self, clock):
        self._clock, self._ready, self.noted = clock, threading.Event(), threading.Event()

    def block_until_ready(self):
        assert self._ready.wait(10)
        self._clock.now = self._at

    def ready(self, at):
        """Returns when the accounting has taken note; time stands at `at` then."""
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
    """Hands a step to the devices; a probe behind it says when its end was noted."""
    result = Result(clock)

    class Probe:
        def block_until_ready(self):
            result.noted.set()

    _, totals = accounting.step(lambda: (None, result))
    accounting._results.put(Probe())
    accounting._begun.append(float("inf"))  # the probe's: it takes no time
    assert totals is result
    return result


def spent(accounting):
    return {part: seconds for part, seconds in accounting.seconds().items() if seconds}


def test_what_the_host_is_at_is_measured_and_the_innermost_counts(accounting, clock):
    with accounting.measure("start"):
        clock.now = 1.0
        with accounting.measure("compile"):
            clock.now = 4.0
        clock.now = 4.5
    clock.now = 5.0
    assert spent(accounting) == {"import": 2.0, "start": 1.5, "compile": 3.0, "host": 0.5}


def test_a_part_ends_with_an_error_too(accounting, clock):
    with pytest.raises(OSError, match="gone"), accounting.measure("checkpoint"):
        clock.now = 3.0
        raise OSError("gone")
    clock.now = 4.0
    assert spent(accounting) == {"import": 2.0, "checkpoint": 3.0, "host": 1.0}


def test_while_the_devices_work_time_is_theirs_whatever_the_host_waits_for(accounting, clock):
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


def test_a_step_under_way_is_divided_between_two_looks(accounting, clock):
    clock.now = 1.0
    step = dispatch(accounting, clock)
    clock.now = 4.0
    first = spent(accounting)
    step.ready(at=6.0)
    clock.now = 8.0
    assert first == {"import": 2.0, "host": 1.0, "step": 3.0}
    assert spent(accounting) == {"import": 2.0, "host": 1.0 + 2.0, "step": 5.0}


def test_a_step_that_fails_at_once_takes_nothing(accounting, clock):
    def fail():
        clock.now = 1.0
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        accounting.step(fail)
    assert spent(accounting) == {"import": 2.0, "host": 1.0}


def test_all_parts_are_named_and_rates_are_taken_over_some(accounting):
    assert tuple(accounting.seconds()) == PHASES
    assert set(TRAINING) < set(PHASES)
