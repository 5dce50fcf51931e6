import threading
from typing import ClassVar

import pytest

from resnet_jax.distributed.rendezvous import ProcessSpec
from resnet_jax.errors import UsageError
from resnet_jax.programs import session
from resnet_jax.programs.command import Command

SPEC = ProcessSpec("gpu003:61447", 2, 1)


class Timer:
    """A stub of `threading.Timer` that records whether it was canceled, and calls its function on request."""

    made: ClassVar[list] = []

    def __init__(self, _seconds, function, arguments):
        self.fire, self.canceled = (lambda: function(*arguments)), False
        self.made.append(self)

    def start(self):
        pass

    def cancel(self):
        self.canceled = True


@pytest.fixture(autouse=True)
def timers(monkeypatch):
    monkeypatch.setattr(Timer, "made", [])
    monkeypatch.setattr(threading, "Timer", Timer)
    return Timer


def test_a_long_wait_for_other_processes_is_announced(timers, caplog):
    with session._announced_wait(SPEC, 300.0):
        timers.made[0].fire()
    (line,) = caplog.messages
    assert line.startswith(
        "by the environment of this cluster, this is process 1 of 2: waiting for process 0 at gpu003"
    )
    assert line.endswith("up to 300 s (--num_processes=1 runs alone)")


def test_a_short_wait_is_not_announced(timers):
    with pytest.raises(ZeroDivisionError), session._announced_wait(SPEC, 300.0):
        _ = 1 / 0
    assert [timer.canceled for timer in timers.made] == [True]


@pytest.mark.parametrize("name", ["join_timeout", "stall_timeout"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_time_limit_must_be_a_number(name, value):
    command = Command("train", None, "nowhere", **{name: float(value)})
    with (
        pytest.raises(UsageError, match=f"^--{name}={value} is not a number of seconds$"),
        session.joined_processes(command, None),
    ):
        pass
