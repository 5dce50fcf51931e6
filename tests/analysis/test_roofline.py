import pytest

from resnet_jax.analysis.hlo_collectives import Collectives
from resnet_jax.analysis.roofline import PEAKS, Peaks, bound_step_time

PEAK = Peaks(bf16_flops=100.0, f32_flops=50.0, hbm_bytes_per_second=10.0, memory=1.0, link_bytes_per_second=2.0)


def bounds(*, peaks=PEAK, dtype="bfloat16", flops=0.0, hbm_bytes=0.0, collectives=None, devices=4):
    return bound_step_time(
        peaks, dtype=dtype, flops=flops, hbm_bytes=hbm_bytes, collectives=collectives or {}, devices=devices
    )


def test_the_scarcest_resource_bounds_a_step():
    step = bounds(flops=200.0, hbm_bytes=50.0)
    assert step == (2.0, 5.0, 0.0)
    assert (step.bound, step.hfu_bound) == (5.0, 0.4)
    step = bounds(flops=200.0, hbm_bytes=10.0)
    assert (step.bound, step.hfu_bound) == (2.0, 1.0)


@pytest.mark.parametrize(("dtype", "seconds"), [("bfloat16", 2.0), ("float16", 2.0), ("float32", 4.0)])
def test_the_peak_is_that_of_the_dtype(dtype, seconds):
    assert bounds(dtype=dtype, flops=200.0).flops == seconds


# Of 8 bytes on each of 4 devices. All-reduce in a ring: 3 pieces of 2 bytes, twice (Patarasuk and Yuan 2009).
@pytest.mark.parametrize(
    ("kind", "sent"),
    [("all-reduce", 12), ("all-gather", 6), ("reduce-scatter", 24), ("all-to-all", 6), ("collective-permute", 8)],
)
def test_what_a_device_sends_goes_over_its_links(kind, sent):
    step = bounds(collectives={kind: Collectives(1, 8)})
    assert step.links == step.bound == sent / 2.0


def test_links_of_unknown_speed_bound_nothing():
    peaks = Peaks(100.0, 100.0, 10.0, 1.0, None)
    step = bounds(peaks=peaks, flops=100.0, collectives={"all-reduce": Collectives(1, 10**9)})
    assert (step.links, step.bound) == (None, 1.0)


def test_resnet50_on_v5e_by_hand():
    # 128 images of 24.05 GFLOP and 383 MB: 15.6 ms at 197 TFLOP/s, 59.9 ms at 819 GB/s.
    step = bounds(peaks=PEAKS["TPU v5 lite"], flops=128 * 24.05e9, hbm_bytes=128 * 383e6)
    assert step.flops == pytest.approx(15.63e-3, rel=1e-3)
    assert step.bound == step.hbm == pytest.approx(59.86e-3, rel=1e-3)
    assert step.hfu_bound == pytest.approx(0.261, rel=1e-2)
