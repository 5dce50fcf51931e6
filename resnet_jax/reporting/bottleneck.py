"""What the accounting of a run says, in words."""

from collections.abc import Mapping

from resnet_jax.reporting.time_accounting import PHASES, TRAINING

_INPUT_BOUND, _HOST_BOUND = 0.10, 0.20  # shares of the time of training that are worth a word
_LEAST_WAITED = 1.0  # second: shorter waits say nothing of a run
_LEAST_SHOWN = 0.005  # of a window


def time_table(seconds: Mapping[str, float]) -> list[str]:
    """The lines of a table: part, time, share.

    Args:
      seconds: by part of the accounting; what else is in it is left out, as is a part of less than 0.05 %.
    """
    spent = {part: seconds.get(part, 0.0) for part in PHASES}
    total = sum(spent.values())
    if not total:
        return []
    shown = {part: taken for part, taken in spent.items() if taken >= 0.0005 * total} | {"total": total}
    width = len(duration(total))
    rows = [f"{part:<10} {duration(taken):>{width}} {100 * taken / total:6.1f} %" for part, taken in shown.items()]
    return [f"{'time' if number == 0 else '':<12} {row}" for number, row in enumerate(rows)]


def shares_line(shares: Mapping[str, float]) -> str:
    """As 'step 93 % input 4 % host 2 % eval 1 %', from fractions by part; those under half a percent are left out."""
    shown = [part for part in PHASES if shares.get(part, 0.0) >= _LEAST_SHOWN]
    return " ".join(f"{part} {100 * shares[part]:.0f} %" for part in shown)


def advice(seconds: Mapping[str, float], *, num_workers: int, num_threads: int, cores: int) -> str | None:
    """Says what keeps the devices from their work, and what to do about it; None: nothing much does.

    Args:
      seconds: by part of the accounting.
      num_workers: decoding processes; 0: threads of this one.
      num_threads: decoding threads, of each of them.
      cores: that this process may use.
    """
    training = sum(seconds[part] for part in TRAINING)
    if not training:
        return None
    waited, idle = (seconds[part] / training for part in ("input", "host"))
    if max(seconds["input"], seconds["host"]) < _LEAST_WAITED:
        return None
    if idle >= _HOST_BOUND and idle > waited:
        return (
            f"Host-bound: the devices waited {100 * idle:.0f} % of the time while the host was busy with other things "
            "than images; raise data.batch_size, so that it has less to do for each image (docs/performance.md)"
        )
    if waited >= _INPUT_BOUND:
        cure = _faster_input(max(1, num_workers) * max(1, num_threads), cores)
        return f"Input-bound: the devices waited {100 * waited:.0f} % of the time for images; {cure}"
    return None


def _faster_input(threads: int, cores: int) -> str:
    if threads < cores:
        return f"{threads} of {cores} cores decode: raise data.num_workers or data.num_threads (docs/performance.md)"
    return (
        f"there is a decoding thread for each core ({cores}): give it more cores, store smaller images (--mode=prepare "
        "with prepare.resize_short_side), or take a cheaper data.resize (docs/performance.md)"
    )


def duration(seconds: float) -> str:
    """3725 -> '1:02:05'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
