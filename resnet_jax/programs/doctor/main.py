"""Entry point of --mode=doctor."""

import contextlib
import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.doctor import accelerators, hosts, images, machine, software, storage
from resnet_jax.programs.doctor.children import Check, ChildError, findings, in_child
from resnet_jax.programs.doctor.finding import ERROR, WARNING, Finding, skipped
from resnet_jax.programs.session import joined_processes
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_QUICK, _LOADING, _DATA, _DEVICES = 20.0, 60.0, 90.0, 180.0  # time limits of checks, in seconds
_SERVER = "a file server does not answer: mount it again, or choose another place"
_STUCK = "a driver does not answer: end other programs that use the devices, or restart the machine"
_BUSY = "the machine is overloaded: end other programs"
_DEFAULT_WORKDIR = str(Path("runs", "doctor"))  # default of --workdir without a config; no run uses this directory


def main(command: Command) -> int:
    """Prints a line for each check; returns the exit status: 0, or 2 if there is an error.

    Each check has a time limit. No file is left behind; the program also runs without data, accelerators or a config.

    Raises:
      UsageError: the environment of a cluster cannot be read, or the processes of the run cannot be connected.
    """
    show_log()
    found, number = [], _process_id(command)
    for check in _checks(command):
        # Other processes print nothing here: process 0 prints their findings after `hosts.together` has gathered them.
        found += findings(check) if number else _shown(findings(check))
    found += _alone() if number is None else _with_others(command, found)
    return _end(found) if not number else UsageError.exit_status if _count(found, ERROR) else 0


def _checks(command: Command) -> list[Check]:
    """Returns the checks that each process runs by itself, before the checks of the devices."""
    workdir = command.workdir
    is_given = command.config is not None or workdir != _DEFAULT_WORKDIR
    return [
        Check("packages", software.packages, _QUICK, _BUSY),
        Check("driver", accelerators.driver, _LOADING, _STUCK),
        Check("memory", machine.memory, _QUICK, _BUSY),
        Check("cores", machine.cores, _QUICK, _BUSY),
        Check("decoding", images.decoding, _LOADING, _BUSY),
        Check("disk", functools.partial(storage.disk, workdir), _QUICK, _SERVER),
        Check("/dev/shm", functools.partial(_shared_memory, command), _LOADING, _BUSY),
        Check("limits", machine.limits, _QUICK, _BUSY),
        Check("clock", machine.clock, _QUICK, _BUSY),
        Check("host", hosts.own_name, _QUICK, "a name server does not answer: see /etc/resolv.conf"),
        Check("TensorFlow", software.tensorflow, _LOADING, _BUSY),
        Check("data", functools.partial(_data, command), _DATA, f"{_SERVER}, or wait for the index of a large folder"),
        Check("workdir", functools.partial(storage.work_directory, workdir, is_given=is_given), _QUICK, _SERVER),
    ]


def _shared_memory(command: Command) -> list[Finding]:
    if command.config is None:
        return machine.shared_memory(0, 0)
    from resnet_jax.experiment.readiness import worker_batches  # noqa: PLC0415  it loads JAX

    return machine.shared_memory(*worker_batches(command.config))


def _data(command: Command) -> list[Finding]:
    if command.config is None:
        return [skipped("data", "name a recipe or a run with --config or --workdir, and its data are checked")]
    from resnet_jax.experiment.readiness import open_checked_splits  # noqa: PLC0415  it loads JAX

    return images.data(*open_checked_splits(command.config))


def _process_id(command: Command) -> int | None:
    """Returns the index of this process in a run of several processes; None if it runs alone."""

    def detect() -> int | None:
        from resnet_jax.distributed.cluster import detect_process  # noqa: PLC0415  it loads JAX

        spec = detect_process(
            coordinator=command.coordinator,
            num_processes=command.num_processes,
            process_id=command.process_id,
            timeout=command.join_timeout,
        )
        return None if spec is None else spec.process_id

    try:
        number: int | None = in_child(detect, seconds=command.join_timeout + _LOADING)
    except (ChildError, TimeoutError) as wrong:
        raise UsageError(f"the environment of the cluster cannot be read ({wrong}): give --num_processes=1") from None
    return number


def _alone() -> list[Finding]:
    found: list[Finding] = []
    for subject, run in (("devices", accelerators.jax_devices), ("all-reduce", accelerators.all_reduce)):
        if not any(one.level == ERROR for one in found):
            found += _shown(findings(Check(subject, run, _DEVICES, _STUCK)))
    return found


def _with_others(command: Command, own: Sequence[Finding]) -> list[Finding]:
    """Connects the processes of the run, compares them, and checks the devices of all."""
    with contextlib.ExitStack() as stack:
        channel = stack.enter_context(joined_processes(command, StopRequests()))
        from resnet_jax.reporting.provenance import versions  # noqa: PLC0415  it loads JAX

        shown = _shown if channel.is_main else list
        found = shown(hosts.together(channel, own, command.workdir, versions()))
        for subject, run in (("devices", accelerators.jax_devices), ("all-reduce", accelerators.all_reduce)):
            found += shown(hosts.with_time_limit(subject, run, seconds=_DEVICES, late=_give_up))
            channel.gather("")
        return found


def _give_up(finding: Finding) -> None:
    _shown([finding])
    os._exit(UsageError.exit_status)


def _shown(found: Sequence[Finding]) -> list[Finding]:
    for finding in found:
        logger.info(finding.line())
    return list(found)


def _end(found: Sequence[Finding]) -> int:
    """Logs the number of errors and warnings; returns the exit status."""
    errors, warnings = _count(found, ERROR), _count(found, WARNING)
    text = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    logger.info(labelled("result", text if errors or warnings else "ready"))
    return UsageError.exit_status if errors else 0


def _count(found: Sequence[Finding], level: str) -> int:
    return sum(one.level == level for one in found)
