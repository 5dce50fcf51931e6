"""Compiles a training step and reports its FLOPs, bytes and time bounds per device, as text and as JSON."""

import dataclasses
import time
from typing import Any

import jax
from jax.stages import Compiled

from resnet_jax.analysis.model_flops import model_flops_per_step
from resnet_jax.analysis.program_cost import ProgramCost, hardware_flops, program_cost
from resnet_jax.analysis.roofline import PEAKS, Peaks, StepTimeBounds, bound_step_time, peak_flops
from resnet_jax.analysis.step_estimates import estimates_json, estimates_lines
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step
from resnet_jax.reporting.run_log import StepFlops

_CURE = (
    "set config.train.per_device_limit to fewer images, or config.train.accumulate to more micro-batches, or use a "
    "smaller config.data.batch_size or more devices"
)


@dataclasses.dataclass(frozen=True)
class StepCost:
    """Costs of a compiled training step at one image size."""

    image_size: int  # height and width in pixels
    batch_size: int  # images over all devices
    devices: int  # number of devices
    device_kind: str  # JAX's name of the device, e.g. 'TPU v5 lite'
    compile_seconds: float  # time that compilation took on this machine
    model_flops: float  # FLOPs per device that the network requires (`model_flops.py`)
    cost: ProgramCost | None  # costs of the compiled program; None: the compiler ran out of device memory
    problem: str | None  # message of the compiler if it ran out of device memory
    memory: float | None  # bytes of memory of a device; None: unknown
    time_bounds: StepTimeBounds | None  # lower bounds on the time of a step; None: peaks of the device or costs unknown

    @property
    def fits(self) -> bool | None:
        """Whether the step fits the memory of a device; None if unknown."""
        if self.cost is None:
            return False
        if self.cost.peak_memory is None or self.memory is None:
            return None
        return self.cost.peak_memory <= self.memory

    @property
    def images_per_second_bound(self) -> float | None:
        """The upper bound on the training images/s of all devices together; None if unknown."""
        return self.time_bounds and self.batch_size / self.time_bounds.bound

    @property
    def mfu_bound(self) -> float | None:
        """The upper bound on model FLOPs utilization, 0 to 1; None if unknown."""
        return self.time_bounds and self.cost and self.time_bounds.hfu_bound * self.model_flops / self.cost.flops

    def as_json(self) -> dict[str, Any]:
        """Returns the costs as JSON values; None means unknown."""
        cost, bounds = self.cost, self.time_bounds
        hbm_bytes, accessed = cost and cost.hbm_bytes, cost and cost.bytes_accessed
        return {
            "per_device": {
                "model_flops": self.model_flops,
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
            **estimates_json(cost, PEAKS.get(self.device_kind), self.batch_size),
            "seconds_per_step_bound": bounds and {**bounds._asdict(), "bound": bounds.bound},
            "images_per_second_bound": self.images_per_second_bound,
            "mfu_bound": self.mfu_bound,
            "hfu_bound": bounds and bounds.hfu_bound,
            "compile_seconds": round(self.compile_seconds, 1),
            "problem": self.problem,
        }

    def as_lines(self) -> dict[str, str]:
        """Returns the costs as lines of text, by label."""
        lines = {"compiled": f"in {self.compile_seconds:.1f} s for images of {self.image_size} pixels"}
        if self.cost is None:
            return lines | {"memory": f"it does not fit ({self.problem}): {_CURE}"}
        per_image = self.cost.hbm_bytes * self.devices / self.batch_size
        return lines | {
            "FLOPs": f"{scaled(self.cost.flops, 'FLOP')} per step and device; the model requires "
            f"{scaled(self.model_flops, 'FLOP')}",
            self._memory_name: f"{scaled(self.cost.hbm_bytes, 'B')} per step and device, "
            f"{scaled(per_image, 'B')} per image",
            "memory": self._memory_line(),
            "collectives": self._collectives_line(),
            "bound": self._bound_line(),
            **self._estimates_lines(),
        }

    @property
    def _memory_name(self) -> str:
        """The label of the line on bytes read from and written to memory: 'HBM' if the device is known to have HBM."""
        return "HBM" if self.device_kind in PEAKS else "traffic"

    def _memory_line(self) -> str:
        assert self.cost is not None
        if self.cost.peak_memory is None:
            return "unknown: the compiler does not report it"
        peak = f"{scaled(self.cost.peak_memory, 'B')} per device for arguments, temporaries and results"
        if self.memory is None:
            return f"{peak}; the memory of a {self.device_kind} is unknown"
        share = f"{self.cost.peak_memory / self.memory:.0%} of {scaled(self.memory, 'B')}"
        return f"{peak}, {share}: it fits" if self.fits else f"{peak}, {share}: it does not fit: {_CURE}"

    def _collectives_line(self) -> str:
        assert self.cost is not None
        each = [f"{count} {kind} of {scaled(size, 'B')}" for kind, (count, size) in self.cost.collectives.items()]
        return ", ".join(each) or "none"

    def _estimates_lines(self) -> dict[str, str]:
        assert self.cost is not None
        peaks, bounds = PEAKS.get(self.device_kind), self.time_bounds
        flops_peak = self.cost.flops / bounds.flops if bounds and bounds.flops else None
        return estimates_lines(self.cost, peaks, self.batch_size, flops_peak=flops_peak)

    def _bound_line(self) -> str:
        bounds = self.time_bounds
        if bounds is None:
            return f"unknown: resnet_jax/analysis/roofline.py has no figures of a {self.device_kind}"
        times = {"FLOPs": bounds.flops, "HBM": bounds.hbm, "collectives": bounds.links}
        each = ", ".join(f"{scaled(seconds, 's')} for {what}" for what, seconds in times.items() if seconds is not None)
        return (
            f"at most {self.images_per_second_bound:,.0f} images/s, MFU {self.mfu_bound:.1%} and HFU "
            f"{bounds.hfu_bound:.1%}: a step takes at least {each}"
        )


def compile_step_cost(experiment: Experiment, image_size: int) -> StepCost:
    """Compiles the training step for images of `image_size` pixels; returns its costs."""
    computation = experiment.computation
    devices = computation.mesh.devices.flat
    cost, problem, start = None, None, time.monotonic()
    try:
        cost = program_cost(compile_train_step(experiment, image_size), num_microbatches=computation.num_microbatches)
    except jax.errors.JaxRuntimeError as error:  # the TPU compiler rejects a program that exceeds device memory
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        problem = str(error).strip().split("\n", 1)[0]
    compile_seconds, kind = time.monotonic() - start, devices[0].device_kind
    peaks = PEAKS.get(kind)
    return StepCost(
        image_size=image_size,
        batch_size=experiment.data.train_loader.batch_size,
        devices=len(devices),
        device_kind=kind,
        compile_seconds=compile_seconds,
        model_flops=model_flops_per_step(experiment, image_size),
        cost=cost,
        problem=problem,
        memory=_memory_of(devices[0]) or (peaks.memory if peaks else None),
        time_bounds=bound_experiment(experiment, peaks, cost) if peaks and cost else None,
    )


def step_flops(experiment: Experiment, compiled: Compiled, image_size: int) -> StepFlops:
    """Returns the FLOPs of a compiled training step on one device; zeros if the device's peak FLOPs are unknown."""
    computation = experiment.computation
    if peak_flops(computation.mesh.devices.flat[0], computation.dtype) is None:
        return StepFlops(0.0, 0.0)
    executed = hardware_flops(compiled, num_microbatches=computation.num_microbatches)
    return StepFlops(model_flops_per_step(experiment, image_size), executed)


def bound_experiment(experiment: Experiment, peaks: Peaks, cost: ProgramCost) -> StepTimeBounds:
    """Returns the lower bounds (roofline) on the time of the training step of an experiment."""
    return bound_step_time(
        peaks,
        dtype=experiment.computation.dtype,
        flops=cost.flops,
        hbm_bytes=cost.hbm_bytes,
        collectives=cost.collectives,
        devices=experiment.computation.mesh.size,
    )


def scaled(value: float, unit: str) -> str:
    """Formats a value with three digits and an SI prefix: 49026293760.0, 'B' -> '49 GB'."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e6:.3g} µ{unit}"


def _memory_of(device: jax.Device) -> float | None:
    """Returns the bytes of a device's memory that JAX may use; None if the device is not attached, or if unknown."""
    stats = device.memory_stats() if device in jax.local_devices() else None
    return stats.get("bytes_limit") if stats else None
