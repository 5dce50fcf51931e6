"""Estimates the time of a step from the kernels of a GPU program or from the estimated cycles in a TPU program."""

from typing import Any

from resnet_jax.analysis.gpu_kernels import SMALL, count_kernels
from resnet_jax.analysis.program_cost import ProgramCost
from resnet_jax.analysis.roofline import CAUTIOUS, IDEAL, Peaks, kernels_seconds


def estimates_json(cost: ProgramCost | None, peaks: Peaks | None, batch_size: int) -> dict[str, Any]:
    """Returns the estimates as JSON values; None for estimates that the program or the device does not allow.

    Args:
      cost: costs of the compiled step on one device; None: unknown.
      peaks: figures of the device; None: unknown.
      batch_size: images over all devices.
    """
    ideal, cautious = _range(cost, peaks, batch_size) or (None, None)
    counts = count_kernels(cost.kernels) if cost and cost.kernels else None
    cycles = cost and cost.cycles
    return {
        "kernels": counts and counts.kernels,
        "small_kernels": counts and counts.small,
        "scatters": counts and counts.scatters,
        "images_per_second_ideal": ideal,
        "images_per_second_cautious": cautious,
        "estimated_cycles": cycles and cycles.cycles,
        "estimated_cycles_coverage": cycles and cycles.coverage,
    }


def estimates_lines(
    cost: ProgramCost, peaks: Peaks | None, batch_size: int, *, flops_peak: float | None
) -> dict[str, str]:
    """Returns the estimates as lines of text by label; empty for programs for CPUs.

    Args:
      cost: costs of the compiled step on one device.
      peaks: figures of the device; None: unknown.
      batch_size: images over all devices.
      flops_peak: peak FLOPs per second of the device at the dtype of the step; None: unknown.
    """
    lines = {}
    if cost.kernels:
        lines["kernels"] = _kernels_line(cost)
    if found := _range(cost, peaks, batch_size):
        ideal, cautious = found
        lines["range"] = (
            f"{cautious:,.0f} to {ideal:,.0f} images/s. The upper end is ideal: each kernel reaches the full bandwidth "
            f"or peak FLOPs. The lower end assumes {CAUTIOUS.bandwidth:.0%} of the bandwidth, {CAUTIOUS.flops:.0%} of "
            f"the FLOPs and {1e6 * CAUTIOUS.launch_seconds:.1f} µs to launch a kernel; it was not measured"
        )
    if cost.cycles:
        lines["cycles"] = _cycles_line(cost, peaks, batch_size, flops_peak)
    return lines


def _range(cost: ProgramCost | None, peaks: Peaks | None, batch_size: int) -> tuple[float, float] | None:
    """Returns the images per second with `IDEAL` and with `CAUTIOUS` efficiency; None without kernels or peaks."""
    if cost is None or peaks is None or not cost.kernels:
        return None
    ideal, cautious = (batch_size / kernels_seconds(cost.kernels, peaks, each) for each in (IDEAL, CAUTIOUS))
    return ideal, cautious


def _kernels_line(cost: ProgramCost) -> str:
    counts = count_kernels(cost.kernels)
    line = f"{counts.kernels:,} a step and device, {counts.small:,} of them move less than {SMALL // 10**6} MB"
    if not counts.scatters:
        return f"{line}; no scatter"
    return f"{line}; {counts.scatters} scatter: it adds in any order, so two runs are not equal bit by bit"


def _cycles_line(cost: ProgramCost, peaks: Peaks | None, batch_size: int, flops_peak: float | None) -> str:
    assert cost.cycles is not None
    found = cost.cycles
    line = (
        f"{found.cycles / 1e6:.2f} M estimated by the compiler for {found.operations:,} operations with "
        f"{found.coverage:.1%} of the bytes" + (f" (none for {', '.join(found.uncovered)})" if found.uncovered else "")
    )
    if peaks is None or peaks.clock is None:
        return f"{line}; the clock of this device is unknown"
    seconds = found.cycles / peaks.clock
    share = f", {cost.flops / seconds / flops_peak:.1%} of the peak FLOPs" if flops_peak else ""
    return (
        f"{line}: {1e3 * seconds:.1f} ms at {peaks.clock / 1e9:.2f} GHz, {batch_size / seconds:,.0f} images/s{share}; "
        "an estimate, not a measurement"
    )
