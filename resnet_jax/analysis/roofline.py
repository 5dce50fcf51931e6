"""What devices can do at most, and what that says about the time of a program (Williams et al. 2009, 'Roofline')."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax

from resnet_jax.analysis.hlo_collectives import Collectives


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The figures of the data sheet for what JAX calls one device."""

    bf16_flops: float  # a second, of matrix units, dense; the same for float16
    f32_flops: float  # of float32 convolutions as JAX makes them by default: bfloat16 on TPUs, TF32 on these GPUs
    hbm_bytes_per_second: float
    memory: float  # bytes
    link_bytes_per_second: float | None  # that leave it over all its links at once; None: the machine decides

    def flops(self, dtype: str) -> float:
        """A second, where activations are 'bfloat16', 'float16' or 'float32'."""
        return self.f32_flops if dtype == "float32" else self.bf16_flops


_GIB = 2**30

# TPUs: the pages 'TPU v3', 'TPU v4', 'TPU v5e', 'TPU v5p' and 'TPU v6e' of docs.cloud.google.com/tpu/docs; a v3 device
# is one of a chip's two cores. Links: their 'interchip interconnect' in Gbps / 8; v4: 6 links of 50 GB/s (Jouppi et
# al. 2023, arXiv 2304.01433); v3: not given there. GPUs: NVIDIA's data sheets of the A100, H100 and H200 (SXM), where
# figures marked 'with sparsity' are halved.
PEAKS: dict[str, Peaks] = {
    "TPU v3": Peaks(61.5e12, 61.5e12, 450e9, 16 * _GIB, None),
    "TPU v4": Peaks(275e12, 275e12, 1200e9, 32 * _GIB, 300e9),
    "TPU v5 lite": Peaks(197e12, 197e12, 819e9, 16 * _GIB, 200e9),
    "TPU v5": Peaks(459e12, 459e12, 2765e9, 95e9, 600e9),
    "TPU v6 lite": Peaks(918e12, 918e12, 1640e9, 32 * _GIB, 448e9),
    "NVIDIA A100-SXM4-40GB": Peaks(312e12, 156e12, 1555e9, 40e9, None),
    "NVIDIA A100-SXM4-80GB": Peaks(312e12, 156e12, 2039e9, 80e9, None),
    "NVIDIA H100 80GB HBM3": Peaks(989.5e12, 494.7e12, 3350e9, 80e9, None),
    "NVIDIA H200": Peaks(989.5e12, 494.7e12, 4800e9, 141e9, None),
}

# Names that libtpu has given the same devices.
PEAKS |= {"TPU v5p": PEAKS["TPU v5"], "TPU v6e": PEAKS["TPU v6 lite"]}


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """FLOPs a second of a device; None: there are no figures of it."""
    peaks = PEAKS.get(device.device_kind)
    return peaks.flops(dtype) if peaks else None


# What a device has to send at least for a byte of the result, where n devices take part.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
}


class StepTime(NamedTuple):
    """The least seconds that a step takes for each thing it needs; the rest may go on meanwhile."""

    flops: float
    hbm: float
    links: float | None  # None: unknown

    @property
    def bound(self) -> float:
        """The least seconds that it takes."""
        return max(self.flops, self.hbm, self.links or 0.0)

    @property
    def mfu_bound(self) -> float:
        """The largest share of the peak FLOPs that can be reached, 0 to 1."""
        return self.flops / self.bound


def least_time(
    peaks: Peaks, *, dtype: str, flops: float, hbm_bytes: float, collectives: Mapping[str, Collectives], devices: int
) -> StepTime:
    """The roofline of a step.

    Args:
      peaks: of a device.
      dtype: of the activations: 'bfloat16', 'float16' or 'float32'.
      flops: on each device; a multiplication and an addition are two.
      hbm_bytes: read and written by each device.
      collectives: of all devices together.
      devices: how many.
    """
    sent = sum(size * _SENT.get(kind, lambda _: 1.0)(devices) for kind, (_, size) in collectives.items())
    links = None if peaks.link_bytes_per_second is None else sent / peaks.link_bytes_per_second
    return StepTime(flops / peaks.flops(dtype), hbm_bytes / peaks.hbm_bytes_per_second, links)
