"""Makes a kill: sends the signals to the stopped processes of a run, and damages files."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import NamedTuple

from drill.kills import Kill
from drill.launch import Processes
from drill.leftovers import workers
from drill.watching import Watch

PAUSE = 30.0  # seconds for which a paused process stands still
_STEPS_AFTER_PAUSE = 3  # steps that a run makes after a pause, before it is ended by SIGTERM
_LARGEST_FILE = 1 << 16  # bytes; smaller than a checkpoint, larger than the output of a start
_PATIENCE = 60.0  # seconds to wait for these steps


class NoVictimError(Exception):
    """The run has no process or file of the kind that is to be killed or damaged."""


def make(kill: Kill, processes: Processes, watch: Watch, *, deadline: float) -> list[int]:
    """Makes a kill and waits until all processes have ended; returns their exit statuses.

    Args:
      kill: what to do.
      processes: the processes of the run, all stopped (SIGSTOP).
      watch: observes the run.
      deadline: seconds within which all processes must end.

    Raises:
      StillRunningError: a process has not ended in time.
      NoVictimError: there is nothing to kill.
    """
    getattr(_Way(kill, processes, watch), kill.way.replace(" ", "_"))()
    if kill.way == "stopped":
        processes.wait(deadline, but=kill.victims)
        processes.send(signal.SIGKILL, kill.victims)
        processes.thaw()  # the workers of the victims
    return processes.wait(deadline)


def damage_newest(checkpoints: Path, moment: float) -> int | None:
    """Damages the newest checkpoint in a directory, if there is an older one.

    Args:
      checkpoints: the directory of the checkpoints.
      moment: a random number in [0, 1) that selects the damage.

    Returns:
      The step of the newest checkpoint that is not damaged; None: there is no checkpoint.
    """
    steps = sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdigit())
    if len(steps) < 2:
        return steps[0] if steps else None
    newest = checkpoints / str(steps[-1])
    damages = (_flip_bits, _cut, _remove_json, _rename)
    damages[int(moment * len(damages))](newest)
    return steps[-2]


class _Way(NamedTuple):
    """A kill that is to be made. Its methods have the names of the keys of `kills.WAYS`."""

    kill: Kill
    processes: Processes
    watch: Watch

    def signal(self) -> None:
        self.processes.send(self.kill.signal, self.kill.victims)
        self.processes.thaw()

    damage = signal  # the checkpoint is damaged when all processes have ended

    def group(self) -> None:
        self.processes.send_to_groups(self.kill.signal)
        self.processes.thaw()

    def stopped(self) -> None:
        self.processes.thaw(but=self.kill.victims)

    def paused(self) -> None:
        self.processes.thaw(but=self.kill.victims)
        time.sleep(PAUSE)
        self.processes.thaw()
        step, deadline = self.watch.step, time.monotonic() + _PATIENCE
        while self.watch.step < step + _STEPS_AFTER_PAUSE and time.monotonic() < deadline:
            if None not in self.processes.statuses():
                return
            time.sleep(0.1)
        self.processes.send(signal.SIGTERM)

    def full_disk(self) -> None:
        # The limit refuses writes as a full disk does, for all libraries alike, and needs no rights and no disk.
        for number in self.processes.ids():
            _, hard = resource.prlimit(number, resource.RLIMIT_FSIZE)
            resource.prlimit(number, resource.RLIMIT_FSIZE, (_LARGEST_FILE, hard))
        self.processes.thaw()

    def worker(self) -> None:
        ids = self.processes.ids()
        victims = [worker for index in self.kill.victims for worker in workers(ids[index])[:1]]
        for victim in victims:
            os.kill(victim, self.kill.signal)
        self.processes.thaw()
        if not victims:
            raise NoVictimError("the run has no worker process")


def _largest_file(checkpoint: Path) -> Path:
    return max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _flip_bits(checkpoint: Path) -> None:
    file = _largest_file(checkpoint)
    content = bytearray(file.read_bytes())
    for offset in range(0, len(content), 64):  # parts of the file are never read
        content[offset] ^= 1
    file.write_bytes(content)


def _cut(checkpoint: Path) -> None:
    file = _largest_file(checkpoint)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _remove_json(checkpoint: Path) -> None:
    (checkpoint / "meta" / "metadata").unlink()


def _rename(checkpoint: Path) -> None:
    checkpoint.rename(checkpoint.with_name(str(int(checkpoint.name) + 1000)))
