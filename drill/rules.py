"""The rules that a run must keep when it is killed (docs/reliability.md)."""

import signal
from collections.abc import Sequence

from drill.kills import Kill, Outcome

STOPPED = 75  # exit status of a run that can be continued by the same command
_MISTAKE = 2  # exit status of a run that a person must correct: here, by making room on the disk
_CRASH = ("Traceback", "Fatal Python error", "stack trace")  # words that only a crash prints
_SAVES = ("group", "paused", "worker")  # ways after which the run saves before it ends


def problems(outcome: Outcome, *, interval: int) -> list[str]:
    """Describes the rules that an outcome breaks.

    Args:
      outcome: complete, with `resumed`.
      interval: steps between checkpoints.
    """
    if outcome.failure:
        return [outcome.failure]
    found = [*_wrong_statuses(outcome), *_crashes(outcome.outputs)]
    found += [f"after two minutes a process still runs: {command}" for command in outcome.leftovers]
    allowed = allowed_loss(outcome, interval)
    if outcome.lost > allowed:
        found.append(f"{outcome.lost} steps lost, {allowed} allowed")
    return found


def allowed_loss(outcome: Outcome, interval: int) -> int:
    """Number of logged steps that a kill may lose.

    SIGTERM, SIGHUP and the loss of a worker leave time to save: none. Damage of the newest checkpoint: the steps since
    the one before it. Else: one interval. If a checkpoint was being written, it does not count, and training went on
    meanwhile: the steps since that save began are allowed in addition.
    """
    kill = outcome.kill
    if kill.way in _SAVES or (kill.way == "signal" and kill.signal != signal.SIGKILL):
        return 0
    if kill.way == "damage":
        return outcome.step - (outcome.saved or 0)
    return interval + (0 if outcome.saving is None else max(0, outcome.step - outcome.saving))


def _wrong_statuses(outcome: Outcome) -> list[str]:
    found = []
    for index, status in enumerate(outcome.statuses):
        allowed = allowed_statuses(outcome.kill, outcome.phase, index)
        if status is None:
            found.append(f"process {index} still runs")
        elif status not in allowed:
            expected = " or ".join(str(one) for one in sorted(allowed))
            found.append(f"process {index} ended with {status}, not {expected}")
    return found


def allowed_statuses(kill: Kill, phase: str, index: int) -> set[int]:
    """Returns the exit statuses with which process `index` may end after a kill in a phase."""
    is_victim = index in kill.victims
    if kill.way in ("stopped", "damage") or (kill.way == "signal" and kill.signal == signal.SIGKILL):
        return {-signal.SIGKILL} if is_victim else {STOPPED}
    if kill.way == "full disk":
        return {_MISTAKE} if index == 0 else {_MISTAKE, STOPPED}
    if phase == "start" and kill.way in ("signal", "group") and is_victim:
        # Early in a start no signal handler is installed yet; launch/local.sh returns 128 + signal then.
        return {STOPPED, -kill.signal} | ({128 + kill.signal} if kill.way == "group" else set())
    return {STOPPED}


def _crashes(outputs: Sequence[str]) -> list[str]:
    return [
        f"process {index} printed {word!r}" for index, output in enumerate(outputs) for word in _CRASH if word in output
    ]
