"""Peak FLOPs and bandwidths of devices, and lower bounds on the step time (roofline model, Williams et al. 2009)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax

from resnet_jax.analysis.gpu_kernels import Kernel
from resnet_jax.analysis.hlo_collectives import Collectives


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Peak FLOPs, memory bandwidth and link bandwidth of one JAX device, from its data sheet."""

    bf16_flops: float  # dense FLOPs per second of the matrix units in bfloat16 and float16
    f32_flops: float  # FLOPs per second in float32 at JAX's default precision: bfloat16 on TPUs, TF32 on GPUs
    hbm_bytes_per_second: float  # bandwidth of the device's memory
    memory: float  # bytes of the device's memory
    link_bytes_per_second: float | None  # sent by one device over all links; None: unknown, or depends on the machine
    exact_f32_flops: float | None = None  # FLOPs per second in float32 at `Precision.HIGHEST`; None: unknown
    clock: float | None = None  # clock rate in Hz at which a TPU's matrix units reach `bf16_flops`; None: unknown

    def flops(self, dtype: str) -> float:
        """Returns the peak FLOPs per second for activations of 'bfloat16', 'float16' or 'float32'."""
        return self.f32_flops if dtype == "float32" else self.bf16_flops


_GIB = 2**30

# Source of the TPU figures: the pages 'TPU v3' to 'TPU v6e' of docs.cloud.google.com/tpu/docs.
# A TPU v3 device is one of the two cores of a chip.
# TPU link bandwidths are the 'interchip interconnect' of those pages in Gbps / 8.
# Exceptions: a TPU v4 has 6 links of 50 GB/s (Jouppi et al. 2023, arXiv 2304.01433); for v3, none is published.
# Source of the GPU figures: NVIDIA's data sheets of the A100, H100 and H200 (SXM).
# Figures that NVIDIA marks 'with sparsity' are halved here.
# Clocks: peak FLOPs / (matrix units x 128 x 128 x 2), with the matrix units of a device from the TPU pages: 2 of a v3,
# 8 of a v4 and a v5p, 4 of a v5e. Jouppi et al. 2023 give the same 940 MHz for v3 and 1,050 MHz for v4.
PEAKS: dict[str, Peaks] = {
    "TPU v3": Peaks(61.5e12, 61.5e12, 450e9, 16 * _GIB, None, clock=0.94e9),
    "TPU v4": Peaks(275e12, 275e12, 1200e9, 32 * _GIB, 300e9, clock=1.05e9),
    "TPU v5 lite": Peaks(197e12, 197e12, 819e9, 16 * _GIB, 200e9, clock=1.5e9),
    "TPU v5": Peaks(459e12, 459e12, 2765e9, 95e9, 600e9, clock=1.75e9),
    "TPU v6 lite": Peaks(918e12, 918e12, 1640e9, 32 * _GIB, 448e9),
    "NVIDIA A100-SXM4-40GB": Peaks(312e12, 156e12, 1555e9, 40e9, None, exact_f32_flops=19.5e12),
    "NVIDIA A100-SXM4-80GB": Peaks(312e12, 156e12, 2039e9, 80e9, None, exact_f32_flops=19.5e12),
    "NVIDIA H100 80GB HBM3": Peaks(989.5e12, 494.7e12, 3350e9, 80e9, None, exact_f32_flops=67e12),
    "NVIDIA H200": Peaks(989.5e12, 494.7e12, 4800e9, 141e9, None, exact_f32_flops=67e12),
}

# libtpu also uses the names v5p and v6e for two of these devices.
PEAKS |= {"TPU v5p": PEAKS["TPU v5"], "TPU v6e": PEAKS["TPU v6 lite"]}


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """Returns the peak FLOPs per second of a device; None if `PEAKS` does not list it."""
    peaks = PEAKS.get(device.device_kind)
    return peaks.flops(dtype) if peaks else None


# For each kind of collective operation, the smallest number of bytes that each of n devices must send, per byte of the
# result.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
}


class StepTimeBounds(NamedTuple):
    """Lower bounds in seconds on the time of a step, one for each resource of the devices.

    The resources can be used at the same time, so the largest bound holds for the step, not the sum.
    """

    flops: float  # executed FLOPs / peak FLOPs
    hbm: float  # HBM bytes / HBM bandwidth
    links: float | None  # bytes sent / bandwidth of the links; None if the bandwidth is unknown

    @property
    def bound(self) -> float:
        """The lower bound on the time of a step in seconds: the largest of `flops`, `hbm` and `links`."""
        return max(self.flops, self.hbm, self.links or 0.0)

    @property
    def hfu_bound(self) -> float:
        """The upper bound on hardware FLOPs utilization, 0 to 1."""
        return self.flops / self.bound


def bound_step_time(
    peaks: Peaks, *, dtype: str, flops: float, hbm_bytes: float, collectives: Mapping[str, Collectives], devices: int
) -> StepTimeBounds:
    """Returns the roofline bounds on the time of a training step.

    Args:
      peaks: figures of one device.
      dtype: dtype of the activations: 'bfloat16', 'float16' or 'float32'.
      flops: FLOPs that each device executes in a step; a multiply-accumulate counts as two.
      hbm_bytes: bytes that each device reads from and writes to HBM in a step.
      collectives: the collective operations of the program by kind, such as 'all-reduce'.
      devices: number of devices that take part in each collective.
    """
    sent = sum(size * _SENT.get(kind, lambda _: 1.0)(devices) for kind, (_, size) in collectives.items())
    links = None if peaks.link_bytes_per_second is None else sent / peaks.link_bytes_per_second
    return StepTimeBounds(flops / peaks.flops(dtype), hbm_bytes / peaks.hbm_bytes_per_second, links)


class Efficiency(NamedTuple):
    """How fast kernels run, compared to the peak figures of their device."""

    bandwidth: float  # share of the memory bandwidth that a kernel reaches, 0 to 1
    flops: float  # share of the peak FLOPs that a kernel reaches, 0 to 1
    launch_seconds: float  # time to launch a kernel, which is added to its duration


IDEAL = Efficiency(1.0, 1.0, 0.0)
# These values are assumed, not measured: this project's programs have not been timed on a GPU yet.
CAUTIOUS = Efficiency(0.7, 0.4, 2.5e-6)


def kernels_seconds(kernels: Sequence[Kernel], peaks: Peaks, efficiency: Efficiency) -> float:
    """Returns the seconds that kernels take one after the other, each limited by its bytes or by its FLOPs.

    Args:
      kernels: kernels that one device executes.
      peaks: peak figures of the device.
      efficiency: shares of the peaks that each kernel reaches.
    """
    rates = {
        "bfloat16": peaks.bf16_flops,
        "tf32": peaks.f32_flops,
        "float32": peaks.exact_f32_flops or peaks.f32_flops,
    }
    bandwidth, launch = peaks.hbm_bytes_per_second * efficiency.bandwidth, efficiency.launch_seconds
    return sum(
        kernel.times
        * (launch + max(kernel.bytes / bandwidth, kernel.flops / rates[kernel.precision] / efficiency.flops))
        for kernel in kernels
    )
