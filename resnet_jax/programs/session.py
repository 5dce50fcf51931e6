"""Opens a session: connects the processes of a command, turns signals into stop requests, locks the work directory."""

import contextlib
import logging
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all
from resnet_jax.distributed.secret import find_secret
from resnet_jax.distributed.signals import Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError, disk_full_as_usage_error
from resnet_jax.programs.command import Command
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir

logger = logging.getLogger(__name__)

_SILENT_WAIT = 3.0  # seconds; if this process waits longer for other processes, it logs that it waits
_LOCK_PATIENCE = 150.0  # seconds to wait for a lock; network file systems free that of a lost machine in 1 to 2 minutes


class Session(NamedTuple):
    """What the processes of a command share: a channel for messages, and the stop and save requests."""

    channel: Channel
    requests: StopRequests


@contextlib.contextmanager
def open_session(command: Command, workdir: Workdir, *, must_hold_a_run: bool = False) -> Iterator[Session]:
    """Connects the processes of the command and locks the work directory until the `with` block ends.

    Args:
      command: the command line of this process.
      workdir: locked by process 0, and created if it does not exist.
      must_hold_a_run: whether it is an error if no run was ever started in `workdir`.

    Raises:
      UsageError: a process did not join in time, `workdir` does not hold the required run, another command has locked
        it, or the disk is full.
    """
    show_log()
    requests = StopRequests()
    with (
        Signals(requests.ask),
        joined_processes(command, requests) as channel,
        disk_full_as_usage_error(command.run_again),
    ):
        if must_hold_a_run:
            workdir.must_hold_a_run()
        patience = _LOCK_PATIENCE if channel.num_processes > 1 else 0.0

        def lost() -> None:
            requests.stop_because(f"{command.workdir} is in use by another process")

        with workdir.lock(patience=patience, lost=lost) if channel.is_main else contextlib.nullcontext():
            channel.gather("")  # waits until process 0 has the lock: then no other command changes a bucket
            if workdir.mirror and not channel.is_main:
                workdir.mirror.pull()
            yield Session(channel, requests)


@contextlib.contextmanager
def joined_processes(command: Command, requests: StopRequests) -> Iterator[Channel]:
    """Connects the processes of the command; in the `with` block, stop and save requests reach all of them."""
    from resnet_jax.distributed import cluster  # noqa: PLC0415  it loads JAX

    timeout, stall_timeout = command.join_timeout, command.stall_timeout
    for name, seconds in (("join_timeout", timeout), ("stall_timeout", stall_timeout)):
        if not math.isfinite(seconds):
            raise UsageError(f"--{name}={seconds} is not a number of seconds")
    spec = cluster.detect_process(
        coordinator=command.coordinator,
        num_processes=command.num_processes,
        process_id=command.process_id,
        timeout=timeout,
    )
    if spec is None:
        channel = Channel(stall_timeout=stall_timeout)
        requests.connect(channel)
        yield channel
        return
    if spec.process_id > 0:
        show_log(level=logging.WARNING)
    secret = find_secret(spec.coordinator, trust_network=command.trust_network)
    with _announced_wait(spec, timeout) if command.process_id is None else contextlib.nullcontext():
        connections = connect_all(spec, timeout=timeout, secret=secret)
    with Channel(connections, process_id=spec.process_id, stall_timeout=stall_timeout) as channel:
        # Share stop requests before JAX connects the processes: after that, JAX aborts all of them if only one ends.
        requests.connect(channel)
        cluster.initialize_jax(spec, timeout=timeout, stall_timeout=stall_timeout, address=connections.address)
        yield channel


@contextlib.contextmanager
def _announced_wait(spec: ProcessSpec, timeout: float) -> Iterator[None]:
    """Logs what this process waits for if the `with` block takes longer than `_SILENT_WAIT`.

    The user may not expect a wait: in a shell of a Slurm job, for example, the environment says that there are several
    processes, although the user wants to run a single one. The log line says how to do that.
    """
    others = "the other processes" if spec.process_id == 0 else "process 0"
    line = (
        f"by the environment of this cluster, this is process {spec.process_id} of {spec.num_processes}: waiting for "
        f"{others} at {spec.coordinator}, up to {timeout:g} s (--num_processes=1 runs alone)"
    )
    timer = threading.Timer(_SILENT_WAIT, logger.warning, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
