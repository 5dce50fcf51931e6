"""Compares the channel between processes with the key-value store and barriers of JAX's coordination service.

    python benchmarks/coordination_service.py [--processes N] [--heartbeat SECONDS]

Measures, with N processes of this machine: the time of an all-gather of 100 bytes through the channel and through the
key-value store; the time of a barrier; and, with the coordination service alone, what the other processes notice when
process 1 is killed (SIGKILL), when it is stopped (SIGSTOP), when process 0 is killed, and when a stranger connects with
the id of process 1. --heartbeat is JAX's `heartbeat_timeout_seconds`, 100 by default.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import jax

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.cluster import initialize_jax
from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all

_ROUNDS = 200
_SECONDS = 60_000  # milliseconds that a call of the service may take


def main() -> None:
    """Runs all measurements and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4, help="number of processes (4)")
    parser.add_argument("--heartbeat", type=int, default=10, help="heartbeat timeout of JAX in seconds (10)")
    options = parser.parse_args()
    results: Queue = multiprocessing.get_context("spawn").Queue()
    with _processes(_measure_latency, options.processes, results):
        for line in results.get(timeout=300):
            print(line, flush=True)
    for what, number, victim in (
        ("killed", signal.SIGKILL, 1),
        ("stopped", signal.SIGSTOP, 1),
        ("killed", signal.SIGKILL, 0),
    ):
        with _processes(_wait_for_nothing, options.processes, results, options.heartbeat) as started:
            _wait_until_joined(results, options.processes)
            os.kill(started[victim].pid, number)
            print(f"process {victim} {what}: {_end_of_others(started, victim)}", flush=True)
    with _processes(_wait_for_nothing, options.processes, results, options.heartbeat) as started:
        port = _wait_until_joined(results, options.processes)
        stranger = multiprocessing.get_context("spawn").Process(target=_connect_as_process_1, args=(port,))
        stranger.start()
        print(f"a stranger connects: {_end_of_others(started, victim=None)}", flush=True)
        stranger.kill()


@contextlib.contextmanager
def _processes(target: Callable[..., None], count: int, *arguments: Any) -> Iterator[list[Any]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    specs = [ProcessSpec(f"127.0.0.1:{port}", count, number) for number in range(count)]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=target, args=(spec, *arguments)) for spec in specs]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


def _measure_latency(spec: ProcessSpec, results: Queue) -> None:
    _begin()
    channel = Channel(connect_all(spec, timeout=60), process_id=spec.process_id)
    initialize_jax(spec, timeout=60, stall_timeout=60, address=None)
    client: Any = jax._src.distributed.global_state.client
    text, others = "x" * 100, range(spec.num_processes)

    def gather(call: int) -> None:
        client.key_value_set(f"{call}/{spec.process_id}", text)
        for other in others:
            client.blocking_key_value_get(f"{call}/{other}", _SECONDS)

    measured = {
        "all-gather, channel": _milliseconds(lambda _: channel.gather(text)),
        "all-gather, key-value store": _milliseconds(gather),
        "barrier": _milliseconds(lambda call: client.wait_at_barrier(str(call), _SECONDS)),
    }
    channel.gather("")
    if spec.process_id == 0:
        results.put([_statistics(name, times) for name, times in measured.items()])
    time.sleep(60)  # `main` ends this process


def _begin() -> None:
    jax.config.update("jax_platforms", "cpu")
    os.close(2)  # JAX prints stack traces when a process ends
    os.open(os.devnull, os.O_WRONLY)


def _statistics(name: str, times: list[float]) -> str:
    late = statistics.quantiles(times, n=100)[98]
    return f"{name}: median {statistics.median(times):.2f} ms, 99th percentile {late:.2f} ms"


def _milliseconds(action: Callable[[int], Any]) -> list[float]:
    times = []
    for call in range(_ROUNDS):
        start = time.perf_counter()
        action(call)
        times.append(1000 * (time.perf_counter() - start))
    return times


def _wait_for_nothing(spec: ProcessSpec, results: Queue, heartbeat: int) -> None:
    _begin()
    jax.distributed.initialize(
        spec.coordinator, spec.num_processes, spec.process_id, heartbeat_timeout_seconds=heartbeat
    )
    results.put(spec.coordinator)
    time.sleep(600)


def _wait_until_joined(results: Queue, count: int) -> str:
    coordinators = [results.get(timeout=120) for _ in range(count)]
    return coordinators[0]


def _connect_as_process_1(coordinator: str) -> None:
    from jax._src.lib import _jax  # noqa: PLC0415

    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _jax.get_distributed_runtime_client(coordinator, 1, init_timeout=30).connect()


def _end_of_others(started: list[Any], victim: int | None) -> str:
    """Waits for the end of the processes other than the victim; returns how and after how long they ended."""
    start, ends = time.monotonic(), []
    for number, process in enumerate(started):
        if number != victim:
            process.join(200)
            ends.append(f"process {number} after {time.monotonic() - start:.1f} s with status {process.exitcode}")
    return ", ".join(ends)


if __name__ == "__main__":
    main()
