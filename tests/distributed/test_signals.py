import os
import queue
import signal
import subprocess
import sys

import pytest

from resnet_jax.distributed.signals import Signals

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR2]


@pytest.mark.parametrize(("number", "request_"), [*((number, "stop") for number in STOPS), (signal.SIGUSR1, "save")])
def test_a_signal_is_a_request_and_the_old_handlers_come_back(number, request_):
    before, requests = signal.getsignal(number), queue.SimpleQueue()
    with Signals(lambda *request: requests.put(request)):
        os.kill(os.getpid(), number)
        assert requests.get(timeout=10) == (request_, signal.Signals(number).name)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(number):
    requests, before = queue.SimpleQueue(), signal.signal(number, signal.SIG_IGN)  # as `nohup` does with SIGHUP
    try:
        with Signals(lambda *request: requests.put(request)):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            assert requests.get(timeout=10) == ("stop", "SIGTERM")
            assert requests.empty()
    finally:
        signal.signal(number, before)


def test_repeated_warnings_of_a_scheduler_do_not_end_the_process(monkeypatch):
    monkeypatch.setattr("resnet_jax.distributed.signals._ONE_REQUEST", 0.0)
    requests = queue.SimpleQueue()
    with Signals(lambda *request: requests.put(request)):
        for number in (signal.SIGHUP, signal.SIGXCPU, signal.SIGXCPU, signal.SIGUSR2, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert requests.get(timeout=10) == ("stop", signal.Signals(number).name)


def test_every_save_signal_is_a_request():
    requests = queue.SimpleQueue()
    with Signals(lambda *request: requests.put(request)):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert requests.get(timeout=10) == ("save", "SIGUSR1")


def test_a_second_signal_ends_the_process_even_inside_a_call_that_does_not_return():
    # Stands for a compilation: a sleep in C that releases the GIL, during which no Python handler runs.
    program = (
        "import ctypes; from resnet_jax.distributed import signals\n"
        "signals._ONE_REQUEST = 0.0\n"
        "with signals.Signals(lambda *request: print(request, flush=True)):\n"
        "    print('ready', flush=True)\n"
        "    while True: ctypes.CDLL(None).usleep(100_000_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "('stop', 'SIGTERM')\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 128 + signal.SIGINT


def test_signals_in_quick_succession_are_one_request(monkeypatch):
    # Slurm and shells forward signals that the whole process group has already received.
    monkeypatch.setattr("resnet_jax.distributed.signals._ONE_REQUEST", 60.0)
    requests = queue.SimpleQueue()
    with Signals(lambda *request: requests.put(request)):
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert requests.get(timeout=10) == ("stop", "SIGTERM")
        assert requests.get(timeout=10) == ("save", "SIGUSR1")


def test_a_process_that_has_saved_ignores_further_stop_signals():
    program = (
        "import os, signal, sys; from resnet_jax.distributed import signals\n"
        "with signals.Signals(lambda *request: None):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "signals.ignore_stop_signals()\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR2):\n"
        "    os.kill(os.getpid(), number)\n"
        "sys.exit(75)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 75
