"""Checks of several processes: they reach each other, have the same versions and time, and share a work directory."""

import datetime
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.distributed.channel import Channel
from resnet_jax.programs.doctor.finding import ERROR, WARNING, Finding, error, ok, warning
from resnet_jax.programs.doctor.storage import existing_parent
from resnet_jax.reporting.workdir import Workdir

logger = logging.getLogger(__name__)

_CLOCK_DIFFERENCE = 10.0  # seconds; if the clocks of two hosts differ by more, the check warns
_SIGHT_SECONDS = 5.0  # how long a file server may take to show a new file to another host


def own_name() -> list[Finding]:
    """Checks that the name of this host has an address, at which other hosts could reach it."""
    name = socket.gethostname()
    try:
        addresses = sorted({entry[4][0] for entry in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)})
    except OSError as wrong:
        cure = "only runs on several hosts need it: add the name to /etc/hosts or DNS, or give --coordinator an address"
        return [warning("host", f"the name {name} has no address ({wrong.strerror})", cure=cure)]
    return [ok("host", f"{name}, {', '.join(map(str, addresses[:3]))}")]


def together(channel: Channel, own: Sequence[Finding], workdir: str, versions: dict[str, Any]) -> list[Finding]:
    """Compares the processes of a run. Every process must call it; all get the same findings.

    Args:
      channel: connects the processes.
      own: findings of the earlier checks in this process.
      workdir: the work directory.
      versions: versions of Python and the main packages in this process.

    Returns:
      The findings of the comparison, then those warnings and errors of the other processes' earlier checks that
      process 0 does not have.
    """
    names = [channel.name(number) for number in range(channel.num_processes)]
    found = [ok("processes", f"{channel.num_processes} reach each other: {', '.join(dict.fromkeys(names))}")]
    found += _clocks(channel)
    found += _same_versions(channel.gather(json.dumps(versions)), names)
    found += _shared_directory(channel, existing_parent(Workdir(workdir).path))
    return found + _others(channel.gather(json.dumps(own)), names)


def _clocks(channel: Channel) -> list[Finding]:
    channel.gather("")  # returns in all processes at nearly the same time, so that they read their clocks together
    times = [float(text) for text in channel.gather(repr(time.time()))]
    spread = max(times) - min(times)
    if spread > _CLOCK_DIFFERENCE:
        cure = "timedatectl set-ntp true on each host: times in logs and of files would not be in order"
        return [warning("clocks", f"the clocks of the hosts differ by {datetime.timedelta(seconds=spread)}", cure=cure)]
    return [ok("clocks", f"of all hosts agree within {spread:.2f} s")]


def _same_versions(gathered: Sequence[str], names: Sequence[str]) -> list[Finding]:
    first = json.loads(gathered[0])
    for text, name in zip(gathered, names, strict=True):
        other = json.loads(text)
        different = [key for key in first if other.get(key) != first[key]]
        if different:
            key = different[0]
            problem = f"{key} is {first[key]} in {names[0]} and {other.get(key)} in {name}"
            return [error("packages", problem, cure="install the same versions on all hosts")]
    return []


def _shared_directory(channel: Channel, place: Path) -> list[Finding]:
    """Checks that all processes see a file that process 0 creates in the directory `place`."""
    marker = place / f".doctor-{channel.gather(os.urandom(8).hex())[0]}"
    problem = ""
    if channel.is_main:
        try:
            marker.touch()
        except OSError as wrong:
            problem = wrong.strerror or str(wrong)
    if channel.gather(problem)[0]:
        return []  # the check `storage.work_directory` has reported that the directory cannot be written
    deadline = time.monotonic() + _SIGHT_SECONDS
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    seen = channel.gather("yes" if marker.exists() else "no")
    if channel.is_main:
        marker.unlink(missing_ok=True)
    blind = [channel.name(number) for number, answer in enumerate(seen) if answer == "no"]
    if blind:
        cure = "mount a file system that all hosts share, and choose a directory on it with --workdir=DIR"
        return [error("workdir", f"{blind[0]} does not see the files of process 0 in {place}", cure=cure)]
    return [ok("workdir", f"all processes see {place}")]


def _others(gathered: Sequence[str], names: Sequence[str]) -> list[Finding]:
    """Returns the warnings and errors that process 0 does not have, each once, with the name of its process."""
    findings = [[Finding(*found) for found in json.loads(text)] for text in gathered]
    known = set(findings[0])
    others = []
    for own, name in zip(findings[1:], names[1:], strict=True):
        new = [found for found in own if found.level in (WARNING, ERROR) and found not in known]
        known.update(new)
        others += [found._replace(text=f"{name}: {found.text}") for found in new]
    return others


def with_time_limit(
    subject: str, run: Callable[[], list[Finding]], *, seconds: float, late: Callable[[Finding], None]
) -> list[Finding]:
    """Runs a check that uses the devices of all processes, and calls `late` with an error if it does not end in time.

    `late` must end this process, because such a check cannot be interrupted.
    """
    cure = "a host or a link between devices does not answer: leave hosts out until it ends"
    finding = error(subject, f"the check has not ended within {seconds:g} s", cure=cure)
    timer = threading.Timer(seconds, late, [finding])
    timer.daemon = True
    timer.start()
    try:
        return run()
    except Exception as wrong:  # JAX raises errors of many types
        return [Finding(ERROR, subject, " ".join(f"{type(wrong).__name__}: {wrong}".split()))]
    finally:
        timer.cancel()
