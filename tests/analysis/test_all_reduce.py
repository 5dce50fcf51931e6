"""The sum over all devices is exact, and its bandwidth follows from its time."""

import jax
import pytest

from resnet_jax.analysis.measure import all_reduce
from resnet_jax.distributed.mesh import make_mesh
from resnet_jax.programs.doctor import accelerators


def test_eight_devices():
    measured = all_reduce.measure_all_reduce(make_mesh(), num_bytes=4096, seconds=0.02)
    assert measured.is_exact and measured.repetitions >= 1
    assert measured.bus_bytes_per_second == pytest.approx(2 * 7 / 8 * 4096 / measured.seconds)


def test_a_wrong_sum_is_found(monkeypatch):
    right = jax.lax.psum
    monkeypatch.setattr(jax.lax, "psum", lambda rows, axis: right(rows, axis) + 1)
    monkeypatch.setattr(all_reduce, "_MOST_REPETITIONS", 1)
    assert not all_reduce.measure_all_reduce(make_mesh(), num_bytes=4096, seconds=0.02).is_exact
    (found,) = accelerators.all_reduce(seconds=0.0)
    assert found.level == "error" and "the sum is wrong" in found.text
