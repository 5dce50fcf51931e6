import os
import signal
import subprocess
import sys

import pytest

from resnet_jax.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_is_a_request_and_the_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.wait(seconds=10)
        assert stop.requested()
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process_even_inside_a_call_that_does_not_return():
    # A sleep in C that releases the GIL stands for a compilation: no Python handler runs meanwhile.
    program = (
        "import ctypes; from resnet_jax.signals import StopRequest\n"
        "with StopRequest():\n"
        "    print('ready', flush=True)\n"
        "    while True: ctypes.CDLL(None).usleep(100_000_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
