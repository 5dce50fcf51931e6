"""Formats the wall time of a run by phase, and names its bottleneck with the setting that relieves it."""

from collections.abc import Mapping

from resnet_jax.reporting.time_accounting import PHASES, TRAINING
from resnet_jax.text import duration, labelled_lines

_INPUT_BOUND, _HOST_BOUND = 0.10, 0.20  # `advice` reports the phases 'input' and 'host' from these shares on
_MIN_WAIT = 1.0  # seconds in each of these phases below which `advice` reports nothing
_MIN_SHARE = 0.005  # a phase with a smaller share of the time is left out of a log line


def time_table(seconds: Mapping[str, float]) -> list[str]:
    """Returns the lines of a table: for each phase its wall time and its share of the total.

    Args:
      seconds: wall time by phase; other keys are ignored, and phases below 0.05 % of the total are left out.
    """
    spent = {phase: seconds.get(phase, 0.0) for phase in PHASES}
    total = sum(spent.values())
    if not total:
        return []
    shown = {phase: taken for phase, taken in spent.items() if taken >= 0.0005 * total} | {"total": total}
    width = len(duration(total))
    rows = [f"{phase:<10} {duration(taken):>{width}} {100 * taken / total:6.1f} %" for phase, taken in shown.items()]
    return labelled_lines("time", rows)


def shares_line(shares: Mapping[str, float]) -> str:
    """Returns a line such as 'step 93 % input 4 % host 2 % eval 1 %' of shares (0 to 1) of at least 0.5 %."""
    shown = [phase for phase in PHASES if shares.get(phase, 0.0) >= _MIN_SHARE]
    return " ".join(f"{phase} {100 * shares[phase]:.0f} %" for phase in shown)


def advice(seconds: Mapping[str, float], *, source: str, num_workers: int, num_threads: int, cores: int) -> str | None:
    """Returns a sentence that names the bottleneck and its cure; None if the devices are seldom idle.

    Args:
      seconds: wall time by phase.
      source: `data.source` of the config, on which the cure depends.
      num_workers: number of decoding processes; 0 if threads of this process decode.
      num_threads: number of decoding threads in each decoding process.
      cores: number of CPU cores that this process may use.
    """
    training = sum(seconds[phase] for phase in TRAINING)
    if not training:
        return None
    waited, idle = (seconds[phase] / training for phase in ("input", "host"))
    if max(seconds["input"], seconds["host"]) < _MIN_WAIT:
        return None
    if idle >= _HOST_BOUND and idle > waited:
        return (
            f"Host-bound: the devices were idle {100 * idle:.0f} % of the time while the host did work other than "
            "decoding images; raise data.batch_size to reduce the host's work per image (docs/performance.md)"
        )
    if waited >= _INPUT_BOUND:
        cure = _faster_input(source, max(1, num_workers) * max(1, num_threads), cores)
        return f"Input-bound: the devices waited {100 * waited:.0f} % of the time for images; {cure}"
    return None


# `data.source` -> the end of a sentence: how to make the preparation of its images cheaper.
_CHEAPER = {
    "tfds": "store images that are not much larger than data.image_size (ImageNet: --mode=prepare with "
    "prepare.resize_short_side), or choose a cheaper data.resize",
    "tfrecord": "make smaller images from the archives with --mode=prepare and prepare.resize_short_side, or choose a "
    "cheaper data.resize",
    "parquet": "convert them once with --mode=prepare, because reading a row costs reading its row group, or choose a "
    "cheaper data.resize",
    "webdataset": "store smaller images with --mode=prepare and prepare.resize_short_side, or choose a cheaper "
    "data.resize",
    "folder": "store copies that are not much larger than data.image_size, or choose a cheaper data.resize",
    "synthetic_jpeg": "set a smaller data.synthetic.image_height and image_width, or choose a cheaper data.resize",
    "cifar_binary": "choose a cheaper data.augment.name",
}


def _faster_input(source: str, threads: int, cores: int) -> str:
    if source == "synthetic":  # arrays made in memory: nothing is read or decoded
        return "making random pixels takes this time, a run on images of another data.source has another limit"
    if threads < cores:
        return f"{threads} of {cores} cores decode: raise data.num_workers or data.num_threads (docs/performance.md)"
    return (
        f"each core ({cores}) already has a decoding thread: use a machine with more cores, {_CHEAPER[source]} "
        "(docs/performance.md)"
    )
