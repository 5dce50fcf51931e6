"""The input benchmarks: their statistics, their generated photos, and a small run of our pipeline."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import simplejpeg

from benchmarks import digits_accuracy, input_pipeline, measurement, photos
from benchmarks.digits_accuracy import Run
from benchmarks.measurement import Measurement, ProcessTree, Settings
from benchmarks.pipelines import RIVALS, Contender, load, ours
from benchmarks.table import render, summarize
from resnet_jax.errors import UsageError
from tests.paths import ROOT


def measured(*, images=100, seconds=1.0, cpu_seconds=1.0, start_rss=10, peak_rss=10) -> Measurement:
    return Measurement("1.0", images, seconds, cpu_seconds, start_rss, peak_rss)


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [photos.photo(index, seed=0) for index in range(24)]


def test_the_table_shows_medians_over_the_rounds():
    rounds = [measured(seconds=2.0, cpu_seconds=c, peak_rss=peak) for c, peak in ((1, 15), (4, 30), (2, 12))]
    (row,) = summarize({"ours": rounds})
    assert row.per_cpu_second == (50, 25, 100)
    assert row.per_second == (50, 50, 50)
    assert (row.peak_rss, row.growth) == (30, 5)


def test_ratios_are_taken_within_a_round():
    # The machine gets slower from round to round; ours is three times as fast in each round but the second.
    own = [measured(seconds=seconds, cpu_seconds=2 * seconds) for seconds in (1, 2, 3)]
    rival = [measured(seconds=seconds, cpu_seconds=4 * seconds) for seconds in (3, 2, 9)]
    first, second = summarize({"ours": own, "rival": rival})
    assert (first.ours_per_cpu_second, first.ours_per_second) == (1, 1)
    assert (second.ours_per_cpu_second, second.ours_per_second) == (6, 3)


def test_the_table_has_a_line_per_pipeline_and_aligned_columns():
    lines = render(summarize({"ours": [measured()], "a rival": [measured(images=50)]})).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].split("|")[1:5]] == ["a rival", "50", "50 - 50", "2.00 x"]


def test_photos_are_determined_by_seed_and_index(encoded):
    assert photos.photo(3, seed=0) == encoded[3]
    assert photos.photo(3, seed=1) != encoded[3]
    assert len(set(encoded)) == len(encoded)


def test_photos_have_the_sizes_and_bytes_of_imagenet(encoded):
    heights, widths, _, sampling = zip(*map(simplejpeg.decode_jpeg_header, encoded), strict=True)
    assert set(sampling) == {"420"}
    assert 90_000 < np.mean([len(data) for data in encoded]) < 135_000
    assert np.mean([max(size) == 500 for size in zip(heights, widths, strict=True)]) > 0.5
    assert any(height > width for height, width in zip(heights, widths, strict=True))


def test_photos_have_the_spectrum_of_photographs(encoded):
    """Power is proportional to frequency^-a; photographs of this size have a = 2.1 to 3.6, white noise has a = 0."""
    slopes = []
    for data in encoded[:16]:
        grey = simplejpeg.decode_jpeg(data, colorspace="GRAY")[..., 0].astype(float)
        power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        frequency = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None])
        band = (frequency > 0.01) & (frequency < 0.4)
        slopes.append(np.polyfit(np.log(frequency[band]), np.log(power[band] + 1), 1)[0])
    assert -3.6 < np.mean(slopes) < -2.1


def test_a_folder_of_photos_appears_only_when_complete(tmp_path, monkeypatch):
    def fails(index, *, seed):
        raise KeyboardInterrupt

    (tmp_path / "photos").mkdir()
    photos.write(tmp_path / "photos", count=3, seed=0)
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    monkeypatch.setattr(photos, "photo", fails)
    with pytest.raises(KeyboardInterrupt):
        photos.write(tmp_path / "half", count=3, seed=0)
    assert not (tmp_path / "half").exists()


def test_files_are_chosen_evenly_and_linked_as_one_class(tmp_path):
    for number in range(10):
        name = tmp_path / "given" / f"class{number // 5}" / f"{number}.JPEG"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(bytes([number]))
    (tmp_path / "given" / "list.txt").write_text("no photo")
    files = photos.find(tmp_path / "given", count=5)
    assert [path.stem for path in files] == ["0", "2", "4", "6", "8"]
    assert len(photos.find(tmp_path / "given", count=99)) == 10
    photos.link(files, tmp_path / "linked")
    linked = sorted((tmp_path / "linked" / "train" / "photos").iterdir())
    assert [path.read_bytes()[0] for path in linked] == [0, 2, 4, 6, 8]
    assert len(list((tmp_path / "linked" / "val" / "photos").iterdir())) == 1


def test_a_folder_without_photos_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no .jpg or .jpeg file"):
        photos.find(tmp_path, count=1)


def test_statistics_are_those_of_the_files(tmp_path):
    for number, (height, width) in enumerate([(10, 20), (30, 60)]):
        pixels = np.zeros((height, width, 3), np.uint8)
        sampling = ("420", "444")[number]
        (tmp_path / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, colorsubsampling=sampling))
    found = photos.statistics(photos.find(tmp_path, count=2))
    assert (found.count, found.mean_width, found.mean_height, found.share_420) == (2, 40, 20, 0.5)
    assert found.mean_kilobytes == sum(path.stat().st_size for path in tmp_path.iterdir()) / 2000


BUSY = """
import sys, time
def work():
    while time.process_time() < 0.3:
        pass
"""


def test_a_living_childs_cpu_seconds_and_memory_count():
    program = BUSY + "work(); print('done', flush=True); sys.stdin.read()"
    tree = ProcessTree()
    before, alone = tree.cpu_seconds(), tree.rss()
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"done\n"
        assert tree.cpu_seconds() - before >= 0.25
        assert tree.rss() > alone + 2**20
        child.stdin.close()


def test_a_dead_childs_cpu_seconds_count():
    tree = ProcessTree()
    before = tree.cpu_seconds()
    subprocess.run([sys.executable, "-c", BUSY + "work()"], check=True)
    assert tree.cpu_seconds() - before >= 0.25


def test_the_window_comes_after_the_warm_up(monkeypatch):
    steps = []

    class Pipeline:
        @staticmethod
        def version():
            return "fake 1.0"

        @staticmethod
        def batches(*, folder, batch_size, image_size, cores):
            try:
                while True:
                    end = time.process_time() + 0.02  # two ticks of the CPU clock
                    while time.process_time() < end:
                        pass
                    steps.append(batch_size)
                    yield batch_size
            finally:
                steps.append("closed")

    monkeypatch.setattr(measurement, "load", lambda contender: Pipeline)
    settings = Settings("nowhere", batch_size=8, image_size=32, cores=1, warmup_batches=2, batches=5)
    result = measurement.measure(Contender("fake", "fake"), settings)
    assert steps == [8] * 7 + ["closed"]
    assert (result.version, result.images) == ("fake 1.0", 40)
    assert result.cpu_seconds >= 0.05


def test_a_pipeline_that_is_not_installed_is_left_out_with_a_message(capsys):
    settings = Settings("nowhere", batch_size=8, image_size=32, cores=1, warmup_batches=1, batches=1)
    assert input_pipeline.measure_rounds([Contender("absent", "absent")], settings, repeats=2) == {}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 and printed[0].startswith("absent: left out: not installed (No module named")


def test_unknown_names_are_errors_that_list_the_known(capsys):
    with pytest.raises(SystemExit) as stopped:
        input_pipeline.main(["--rivals", "tf"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert all(rival.name in message for rival in RIVALS)


def test_the_same_pipeline_twice_is_an_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        input_pipeline.main(["--rivals", "--ours", "seed=1", "--ours", "seed=1"])
    assert stopped.value.code == 2
    assert "twice" in capsys.readouterr().err


def test_without_a_measurement_of_ours_there_is_no_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(input_pipeline, "run", lambda contender, settings: "it failed")
    with pytest.raises(SystemExit) as stopped:
        input_pipeline.main(["--rivals", "--images", str(tmp_path / "photos"), "--count", "1", "--repeats", "1"])
    assert stopped.value.code == 1
    assert "ours: left out: it failed" in capsys.readouterr().out


def test_an_unknown_key_of_the_config_is_an_error(tmp_path):
    pipeline = load(ours({}))
    batches = pipeline.batches(folder=tmp_path, batch_size=8, image_size=32, cores=1, overrides={"data.no_key": "1"})
    with pytest.raises(UsageError, match=r"data\.no_key"):
        next(batches)


def test_a_small_run_of_ours(tmp_path):
    """Runs the file from another directory; checks the printed table and the JSON file."""
    command = [sys.executable, ROOT / "benchmarks" / "input_pipeline.py", "--images", tmp_path / "photos", "--count"]
    command += ["12", "--repeats", "1", "--batches", "10", "--warmup", "1", "--batch-size", "8", "--image-size", "32"]
    command += ["--cores", "1", "--rivals", "--ours", "seed=1", "data.num_threads=2", "--no-markers"]
    command += ["--json", "all.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 JPEG" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("| ours seed=1 data.num_threads=2 ")
    assert len(list((tmp_path / "photos").iterdir())) == 12
    record = json.loads((tmp_path / "all.json").read_text())
    ((result,),) = record["measurements"].values()
    assert result["images"] == 80
    assert result["seconds"] > 0 and result["cpu_seconds"] > 0
    assert result["peak_rss"] >= result["start_rss"] > 2**20
    assert result["version"].startswith("resnet_jax")
    assert [row["name"] for row in record["table"]] == ["ours seed=1 data.num_threads=2"]


def test_accuracies_are_compared_seed_by_seed():
    results = {
        "plain": [Run(0, 0.98, 0.99, 10), Run(1, 0.96, 0.97, 12), Run(2, 0.97, 0.97, 50)],
        "mixup 0.2": [Run(2, 0.95, 0.96, 9), Run(0, 0.96, 0.99, 9), Run(1, 0.94, 0.96, 9)],
    }
    plain, mixup = digits_accuracy.summarize(results)
    assert (plain.mean, plain.deviation, plain.lowest, plain.highest) == pytest.approx((97, 1, 96, 98))
    assert (plain.to_plain, plain.seconds) == (None, 12)
    assert mixup.to_plain == pytest.approx((-2, 0))
    worse = "mixup 0.2 is 2.00 below plain, whose standard deviation is 1.00"
    assert digits_accuracy.conclusions([plain, mixup]) == [worse]
    assert digits_accuracy.conclusions([plain, mixup._replace(mean=96.1)])[0].startswith("no variant is below")
    assert digits_accuracy.conclusions([plain._replace(runs=1), mixup])[0].startswith("no comparison")
    assert len({len(line) for line in digits_accuracy.render([plain, mixup]).splitlines()}) == 1


@pytest.mark.slow
def test_a_small_run_of_the_digits_evaluates_the_average_and_the_trained_weights(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "digits_accuracy.py", "--variants", "plain", "ema", "--seeds", "1"]
    small = {
        "train.total_steps": "4",
        "data.batch_size": "16",
        "data.image_size": "12",
        "model.features": "4",
        "log.inputs": "False",
        "log.trackers": "()",
    }
    command += ["--set", *(f"{key}={value}" for key, value in small.items()), "--json", tmp_path / "all.json"]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "all.json").read_text())
    assert list(record["runs"]) == ["plain", "ema 0.99", "ema 0.99, trained weights"]
    ((plain,), _, (trained,)) = record["runs"].values()
    assert plain["top1"] == trained["top1"]
    assert record["versions"]["jax"] and record["overrides"] == small


def test_a_failed_run_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        digits_accuracy.main(["--seeds", "1", "--set", "no.such_key=1"])
    assert stopped.value.code == 2
    assert "no.such_key" in capsys.readouterr().err
