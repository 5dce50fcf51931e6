"""Opens a session: connects the processes of a command, turns signals into stop requests, locks the work directory."""

import contextlib
import logging
from collections.abc import Iterator
from typing import NamedTuple

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.signals import Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import disk_full_as_usage_error
from resnet_jax.programs.command import Command
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir

_LOCK_PATIENCE = 150.0  # seconds; a network file system takes one or two minutes to drop the lock of a lost machine


class Session(NamedTuple):
    """What the processes of a command share: a channel for messages, and the stop and save requests."""

    channel: Channel
    requests: StopRequests


@contextlib.contextmanager
def open_session(command: Command, workdir: Workdir, *, must_hold_a_run: bool = False) -> Iterator[Session]:
    """Joins the processes of the command and locks the work directory until the block ends.

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
        _joined_processes(command, requests) as channel,
        disk_full_as_usage_error(command.run_again),
    ):
        if must_hold_a_run:
            workdir.must_hold_a_run()
        patience = _LOCK_PATIENCE if channel.num_processes > 1 else 0.0
        with workdir.lock(patience=patience) if channel.is_main else contextlib.nullcontext():
            yield Session(channel, requests)


@contextlib.contextmanager
def _joined_processes(command: Command, requests: StopRequests) -> Iterator[Channel]:
    """Connects the processes of the command; inside the block each stop or save request is passed on to all of them."""
    from resnet_jax.distributed import cluster  # noqa: PLC0415  it loads JAX
    from resnet_jax.distributed.rendezvous import connect_all  # noqa: PLC0415
    from resnet_jax.distributed.secret import find_secret  # noqa: PLC0415

    timeout = command.join_timeout
    spec = cluster.detect_process(
        coordinator=command.coordinator,
        num_processes=command.num_processes,
        process_id=command.process_id,
        timeout=timeout,
    )
    if spec is None:
        yield Channel()
        return
    if spec.process_id > 0:
        show_log(level=logging.WARNING)
    secret = find_secret(spec.coordinator, trust_network=command.trust_network)
    connections, stall_timeout = connect_all(spec, timeout=timeout, secret=secret), command.stall_timeout
    with Channel(connections, process_id=spec.process_id, stall_timeout=stall_timeout) as channel:
        # Stop requests go to all processes before JAX connects them: after that, JAX aborts all when one ends alone.
        requests.connect(channel)
        cluster.initialize_jax(spec, timeout=timeout, stall_timeout=stall_timeout, address=connections.address)
        yield channel
