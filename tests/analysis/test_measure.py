import pytest

from resnet_jax import experiment
from resnet_jax.analysis.measure.end_to_end import measure_end_to_end
from resnet_jax.analysis.measure.loader import measure_loader
from resnet_jax.analysis.measure.step import measure_step
from resnet_jax.analysis.measure.windows import Windows, rates, spread, time_windows
from resnet_jax.errors import UsageError
from resnet_jax.experiment import benchmark_options
from resnet_jax.programs.benchmark import first_step_lines, record_path
from tests.tiny import tiny_config

WINDOWS = Windows(count=3, steps=2, warmup_steps=1)


def test_windows_are_timed_apart():
    now, made = [0.0], []

    def run(steps):
        made.append(steps)
        now[0] += steps * len(made)  # ever slower

    assert time_windows(WINDOWS, run, clock=lambda: now[0]) == [2.0, 4.0, 6.0]
    assert made == [2, 2, 2] and WINDOWS.total_steps == 7


def test_a_figure_has_a_median_and_a_spread():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "windows": [3.0, 1.0, 2.0]}
    assert rates([2.0, 4.0], 8)["windows"] == [4.0, 2.0]


@pytest.fixture(scope="module")
def tiny():
    return experiment.build(tiny_config())


def test_a_step_is_measured_without_any_of_the_data(tiny, monkeypatch):
    monkeypatch.setattr(type(tiny.data.train_loader), "batch", None)
    found = measure_step(tiny, WINDOWS)
    assert len(found["images_per_second"]["windows"]) == 3
    per_step, rate = found["milliseconds_per_step"]["median"], found["images_per_second"]["median"]
    assert rate == pytest.approx(48 / (per_step / 1000))
    assert found["programs_compiled_later"] == 0
    assert found["mfu"] is found["hfu"] is found["share_of_bound"] is None  # CPUs are not in PEAKS


@pytest.mark.slow
def test_steps_with_a_loss_that_is_not_finite_are_an_error():
    wild = experiment.build(tiny_config({"schedule.base_lr": 1e9, "schedule.warmup_epochs": 0.0}))
    with pytest.raises(UsageError, match="the loss is nan after 7 steps on random images: set a lower"):
        measure_step(wild, WINDOWS)


@pytest.mark.slow
def test_where_the_peak_is_known_so_is_the_share_of_it(tiny, monkeypatch):
    from resnet_jax.analysis.measure import step
    from resnet_jax.analysis.roofline import Peaks

    monkeypatch.setitem(step.PEAKS, "cpu", Peaks(1e12, 1e11, 1e10, 1e9, None))
    found = measure_step(tiny, WINDOWS)
    rate = found["images_per_second"]["median"]
    for name, flops in (("mfu", "model_flops_per_image"), ("hfu", "flops_per_image")):
        assert found[name] == pytest.approx(found[flops] * rate / 8 / 1e11)  # float32, eight devices
    assert found["model_flops_per_image"] != found["flops_per_image"]
    assert found["share_of_bound"] == pytest.approx(
        found["images_per_second"]["median"] / found["images_per_second_bound"]
    )


def test_the_loader_is_measured_by_the_clock_and_by_the_cpu(tiny):
    found = measure_loader(tiny, WINDOWS)
    assert len(found["images_per_second"]["windows"]) == 3
    pixels = 12 * 12 * 3 / 1e6
    assert found["megabytes_per_second"]["median"] == pytest.approx(found["images_per_second"]["median"] * pixels)


@pytest.mark.slow
def test_the_end_to_end_measurement_has_seconds_by_phase(tiny):
    found = measure_end_to_end(tiny, WINDOWS)
    assert len(found["images_per_second"]["windows"]) == 3 and found["seconds"]["step"] > 0


def test_parts_are_checked_before_anything_is_measured():
    assert benchmark_options(tiny_config({"benchmark.parts": ("step",)})).measurements == ("step",)
    for wrong, message in (
        (("disk",), "'disk' is not a measurement; name some of first_step, step"),
        ((), "it is empty; name"),
    ):
        with pytest.raises(UsageError, match=message):
            benchmark_options(tiny_config({"benchmark.parts": wrong}))
    with pytest.raises(UsageError, match=r"benchmark.windows=0 is out of range: it must be at least 1"):
        benchmark_options(tiny_config({"benchmark.windows": 0}))


def test_records_have_names_that_sort_by_time(tmp_path):
    path = record_path(tmp_path / "benchmarks")
    assert path.parent.is_dir() and path.suffix == ".json" and path.name.startswith("20")
    path.write_text("")
    with pytest.raises(UsageError, match="cannot be created .Not a directory.: choose another --workdir"):
        record_path(path / "benchmarks")


def test_the_lines_of_the_first_step():
    found = {"cold": {"seconds": 7.26, "parts": {"import": 1.5, "compile": 5.7, "host": 0.01}}}
    assert first_step_lines(found) == {"first cold": "7.3 s until the first step was done: import 1.5, compile 5.7"}
