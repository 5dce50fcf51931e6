"""What a training step needs of a device: found by compiling it, told in words and in JSON."""

import dataclasses
import time
from typing import Any

import jax

from resnet_jax.analysis.program_cost import ProgramCost, program_cost
from resnet_jax.analysis.roofline import PEAKS, Peaks, StepTime, least_time
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step

_CURE = (
    "set config.train.per_device_limit to fewer images, or config.train.accumulate to more parts, or take a smaller "
    "config.data.batch_size or more devices"
)


@dataclasses.dataclass(frozen=True)
class StepCost:
    """The needs of a step with images of one size."""

    image_size: int  # pixels
    batch_size: int  # images, of all devices
    devices: int
    device_kind: str
    compile_seconds: float
    cost: ProgramCost | None  # None: the compiler found that it does not fit
    problem: str | None  # what the compiler said then
    memory: float | None  # bytes that a device has; None: unknown
    least_time: StepTime | None  # None: what the device can do is unknown, or what the step needs

    @property
    def fits(self) -> bool | None:
        """Whether a device has the memory; None: unknown."""
        if self.cost is None:
            return False
        if self.cost.peak_memory is None or self.memory is None:
            return None
        return self.cost.peak_memory <= self.memory

    @property
    def images_per_second_bound(self) -> float | None:
        """What all devices together cannot surpass."""
        return self.least_time and self.batch_size / self.least_time.bound

    def as_json(self) -> dict[str, Any]:
        """JSON values; None: unknown."""
        cost, least = self.cost, self.least_time
        hbm_bytes, accessed = cost and cost.hbm_bytes, cost and cost.bytes_accessed
        return {
            "per_device": {
                "flops": cost and cost.flops,
                "hbm_bytes": hbm_bytes,
                "peak_memory_bytes": cost and cost.peak_memory,
                "memory_bytes": self.memory,
                "fits": self.fits,
            },
            "hbm_bytes_per_image": hbm_bytes and hbm_bytes * self.devices / self.batch_size,
            "bytes_accessed_per_image": accessed and accessed * self.devices / self.batch_size,
            "collectives": cost
            and {kind: {"count": count, "bytes": size} for kind, (count, size) in cost.collectives.items()},
            "seconds_per_step_bound": least and {**least._asdict(), "bound": least.bound},
            "images_per_second_bound": self.images_per_second_bound,
            "mfu_bound": least and least.mfu_bound,
            "compile_seconds": round(self.compile_seconds, 1),
            "problem": self.problem,
        }

    def as_lines(self) -> dict[str, str]:
        """What to print, by the name of the part."""
        lines = {"compiled": f"in {self.compile_seconds:.1f} s for images of {self.image_size} pixels"}
        if self.cost is None:
            return lines | {"memory": f"it does not fit ({self.problem}): {_CURE}"}
        per_image = self.cost.hbm_bytes * self.devices / self.batch_size
        return lines | {
            "FLOPs": f"{scaled(self.cost.flops, 'FLOP')} a step and device",
            "HBM": f"{scaled(self.cost.hbm_bytes, 'B')} a step and device, {scaled(per_image, 'B')} an image",
            "memory": self._memory_line(),
            "collectives": self._collectives_line(),
            "bound": self._bound_line(),
        }

    def _memory_line(self) -> str:
        assert self.cost is not None
        if self.cost.peak_memory is None:
            return "the compiler does not say"
        peak = f"{scaled(self.cost.peak_memory, 'B')} a device for arguments, temporaries and results"
        if self.memory is None:
            return f"{peak}; how much a {self.device_kind} has is not known here"
        share = f"{self.cost.peak_memory / self.memory:.0%} of {scaled(self.memory, 'B')}"
        return f"{peak}, {share}: it fits" if self.fits else f"{peak}, {share}: it does not fit: {_CURE}"

    def _collectives_line(self) -> str:
        assert self.cost is not None
        each = [f"{count} {kind} of {scaled(size, 'B')}" for kind, (count, size) in self.cost.collectives.items()]
        return ", ".join(each) or "none"

    def _bound_line(self) -> str:
        least = self.least_time
        if least is None:
            return f"unknown: there are no figures of a {self.device_kind} in roofline.py"
        times = {"FLOPs": least.flops, "HBM": least.hbm, "collectives": least.links}
        each = ", ".join(f"{scaled(seconds, 's')} for {what}" for what, seconds in times.items() if seconds is not None)
        return (
            f"at most {self.images_per_second_bound:,.0f} images/s and {least.mfu_bound:.1%} of the peak FLOPs: "
            f"a step takes {each}"
        )


def find_step_cost(experiment: Experiment, image_size: int) -> StepCost:
    """Compiles the training step for the devices of an experiment and images of so many pixels."""
    devices = experiment.mesh.devices.flat
    cost, problem, start = None, None, time.monotonic()
    try:
        cost = program_cost(compile_train_step(experiment, image_size), parts=experiment.parts)
    except jax.errors.JaxRuntimeError as error:  # the compiler for TPUs makes no program that does not fit
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        problem = str(error).strip().split("\n", 1)[0]
    kind = devices[0].device_kind
    peaks = PEAKS.get(kind)
    return StepCost(
        image_size=image_size,
        batch_size=experiment.train_loader.order.batch_size,
        devices=len(devices),
        device_kind=kind,
        compile_seconds=time.monotonic() - start,
        cost=cost,
        problem=problem,
        memory=_memory_of(devices[0]) or (peaks.memory if peaks else None),
        least_time=_least_time(experiment, peaks, cost) if peaks and cost else None,
    )


def _least_time(experiment: Experiment, peaks: Peaks, cost: ProgramCost) -> StepTime:
    return least_time(
        peaks,
        dtype=experiment.dtype,
        flops=cost.flops,
        hbm_bytes=cost.hbm_bytes,
        collectives=cost.collectives,
        devices=experiment.mesh.size,
    )


def scaled(value: float, unit: str) -> str:
    """49026293760.0, 'B' -> '49.0 GB'."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e6:.3g} µ{unit}"


def _memory_of(device: jax.Device) -> float | None:
    """The bytes that JAX may use of a device that is there, if it says so."""
    stats = device.memory_stats() if device in jax.local_devices() else None
    return stats.get("bytes_limit") if stats else None
