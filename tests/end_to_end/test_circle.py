"""From the command line: train, evaluate, predict, export, and load the export elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from resnet_jax.data.decode import open_image
from resnet_jax.data.sources import open_source
from tests.end_to_end import processes

# Loads an export with JAX only, without this package and without Flax.
ELSEWHERE = """
import json, sys
sys.modules["resnet_jax"] = sys.modules["flax"] = None
import numpy as np
from jax import export

network = export.deserialize(bytearray(open(sys.argv[1] + "/model.jax", "rb").read()))
outputs = network.call(np.load(sys.argv[2])["images"])
print(json.dumps({name: np.asarray(value).tolist() for name, value in outputs.items()}))
"""


def main(*arguments, data_dir, stdin=""):
    """Runs main.py; returns the completed process with its output as text."""
    return subprocess.run(
        [sys.executable, "main.py", *map(str, arguments)],
        cwd=processes.ROOT,
        env=processes.environment(data_dir),
        capture_output=True,
        text=True,
        input=stdin,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished):
    """The work directory of a trained run."""
    return shutil.copytree(finished[0], tmp_path_factory.mktemp("circle") / "run")


@pytest.fixture(scope="module")
def pictures(run, data_dir):
    """A folder of the digits of the evaluation set as PNG files, with the class in the name."""
    options = {"data_dir": str(data_dir), "train_split": "train", "eval_split": None, "cache_dir": None}
    source = open_source("tfds", training=False, name="digits", **options)
    folder = run.parent / "pictures"
    folder.mkdir()
    for index in range(len(source)):
        picture = open_image(source[index].image)
        name = f"{index:03}-is-{source.class_names[source[index].label]}.png"
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture.decode_rows(picture.height), cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module")
def certificate(run, data_dir):
    """The certificate of an evaluation."""
    done = main("--mode=eval", f"--workdir={run}", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    (found,) = (run / "evaluations").glob("*/certificate.json")
    return json.loads(found.read_text())


@pytest.fixture(scope="module")
def answers(run, pictures, data_dir):
    """The predictions for the pictures, for a file that is not an image, and for a file that does not exist."""
    (pictures.parent / "broken.png").write_bytes(b"no image")
    places = [pictures, pictures.parent / "broken.png", "nowhere.png"]
    done = main(
        *("--mode=predict", f"--workdir={run}", "--config.predict.format=json", "--config.predict.top_k=10", "-"),
        data_dir=data_dir,
        stdin="".join(f"{place}\n" for place in places),
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def export(run, data_dir):
    """The directory of an export."""
    directory = run.parent / "export"
    formats = "--config.export.formats=('jax', 'safetensors')"
    done = main("--mode=export", f"--workdir={run}", f"--config.export.dir={directory}", formats, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return directory


def test_evaluation_gives_the_accuracy_of_training(run, certificate):
    result = processes.read_result(run)["eval"]
    assert certificate["eval"] == {key: result[key] for key in ("loss", "top1", "top5", "count")}
    assert certificate["weights"]["step"] == 60 and result["count"] == 360


def test_predictions_are_those_of_the_evaluation(pictures, answers, certificate):
    paths = sorted(str(path) for path in pictures.iterdir())
    assert [answer["path"] for answer in answers] == [*paths, str(pictures.parent / "broken.png"), "nowhere.png"]
    good, (broken, missing) = answers[:-2], answers[-2:]
    assert "not an image file" in broken["error"] and "there is no such file" in missing["error"]
    for answer in good:
        probabilities = [found["probability"] for found in answer["predictions"]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
    right = sum(f"-is-{answer['predictions'][0]['name']}." in answer["path"] for answer in good)
    assert (
        right == certificate["right"]["top1"] > 0.2 * len(good)
    )  # chance is 0.1: the network was trained for a second


def test_the_artifact_runs_without_this_package(run, export, answers, pictures, tmp_path):
    described = json.loads((export / "model.json").read_text())
    assert described["class_names"] == json.loads((run / "classes.json").read_text())
    # Computes the input from the description alone; the digits are enlarged twice.
    before = described["preprocessing"]["before"]
    assert (before["crop"], before["resize"]) == ("central", "area")
    images = [by_hand(cv2.imread(str(path)), before) for path in sorted(pictures.iterdir())]
    np.savez(tmp_path / "images.npz", images=np.stack(images))
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(export), str(tmp_path / "images.npz")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    for row, answer in enumerate(answers[:-2]):
        for found in answer["predictions"]:
            assert outputs["probabilities"][row][found["class"]] == pytest.approx(found["probability"], abs=1e-4)
        assert outputs["classes"][row] == answer["predictions"][0]["class"]


def by_hand(pixels, before):
    """Converts an image [H, W, 3] BGR to the input of the network, as described in docs/serving.md."""
    pixels, size = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), before["image_size"]
    factor = before["enlarge_to"] / min(pixels.shape[:2])
    if factor > 1:
        height, width = (round(side * factor) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    side = int(np.float32(before["fraction"]) * np.float32(min(pixels.shape[:2])))
    top, left = ((length - side + 1) // 2 for length in pixels.shape[:2])
    return cv2.resize(pixels[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)


def test_certificate_export_and_checkpoint_have_the_same_hash(certificate, export, run, data_dir):
    described = json.loads((export / "model.json").read_text())
    assert described["source"]["sha256"] == certificate["weights"]["sha256"]
    path = export / "model.safetensors"
    done = main("--mode=eval", f"--workdir={run}", f"--config.eval.checkpoint={path}", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in (run / "evaluations").glob("*/certificate.json")]
    assert len(found) == 2
    assert {one["weights"]["sha256"] for one in found} == {certificate["weights"]["sha256"]}
    assert {one["right"]["top1"] for one in found} == {certificate["right"]["top1"]}


def test_a_file_name_may_be_other_than_utf8_and_a_reader_may_close_the_pipe(run, pictures, data_dir):
    odd = os.fsencode(pictures.parent) + b"/odd-\xff.png"
    shutil.copyfile(next(iter(sorted(pictures.iterdir()))), odd)
    command = [sys.executable, "main.py", "--mode=predict", f"--workdir={run}", "--config.predict.batch_size=1", "-"]
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(command)} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        cwd=processes.ROOT,
        env=processes.environment(data_dir) | {"PYTHONIOENCODING": "utf-8:strict"},
        input=odd + b"\n" + os.fsencode(pictures) + b"\n",
        capture_output=True,
        check=False,
    )
    assert done.stdout.startswith(odd + b" ") and done.stdout.count(b"\n") == 1
    assert done.returncode == 128 + signal.SIGPIPE and b"Traceback" not in done.stderr


@pytest.mark.slow  # tests/programs/export/test_export.py refuses it within one process
def test_an_existing_export_is_not_replaced(run, export, data_dir):
    before = (export / "model.json").read_bytes()
    done = main("--mode=export", f"--workdir={run}", f"--config.export.dir={export}", data_dir=data_dir)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{export} already exists: set config.export.dir to another directory, or remove this one" in done.stderr
    assert (export / "model.json").read_bytes() == before


def start_of_an_export(run, directory, data_dir):
    """Starts an export and returns its process once its `.part` directory exists."""
    process = subprocess.Popen(
        [sys.executable, "main.py", "--mode=export", f"--workdir={run}", f"--config.export.dir={directory}"],
        cwd=processes.ROOT,
        env=processes.environment(data_dir),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    part = directory.with_name(directory.name + ".part")
    while not (part.exists() and any(part.iterdir())):  # the directory exists shortly before it is locked
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(timeout=10)
        time.sleep(0.002)
    return process


def test_an_export_that_is_terminated_leaves_nothing(run, data_dir, tmp_path):
    process = start_of_an_export(run, tmp_path / "export", data_dir)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (128 + signal.SIGTERM, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # tests/programs/export/test_export.py refuses and cleans up within one process
def test_of_two_exports_into_one_directory_one_fails_and_a_killed_one_leaves_no_trace(run, data_dir, tmp_path):
    directory = tmp_path / "export"
    process = start_of_an_export(run, directory, data_dir)
    process.send_signal(signal.SIGSTOP)
    try:
        second = main("--mode=export", f"--workdir={run}", f"--config.export.dir={directory}", data_dir=data_dir)
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert (second.returncode, second.stderr) == (
        2,
        f"error: another process is at work in the export {directory}: wait for it, or set "
        "config.export.dir to another directory\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["export.part"]
    third = main("--mode=export", f"--workdir={run}", f"--config.export.dir={directory}", data_dir=data_dir)
    assert third.returncode == 0, third.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
