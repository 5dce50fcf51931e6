import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from resnet_jax import experiment
from resnet_jax.data.batch import UNREADABLE
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment.parts import ShownInputs
from resnet_jax.programs import show
from resnet_jax.programs.command import Command
from resnet_jax.programs.input_page import captions, write_page
from resnet_jax.programs.train import run as run_module
from resnet_jax.programs.train.loop import Position
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from tests.tiny import tiny_config


def run(tmp_path, changes=None):
    return show.main(Command("show", tiny_config(changes), str(tmp_path / "run")))


def test_the_page_is_in_the_work_directory_or_in_the_given_file(tmp_path, capsys):
    assert run(tmp_path) == 0
    with Image.open(tmp_path / "run" / "inputs.png") as page:
        assert page.width >= 800
    printed = capsys.readouterr().out
    assert "views        images of about 12 x 12 pixels; a training crop shows" in printed
    written = f"written      {tmp_path / 'run' / 'inputs.png'}: training and evaluation inputs with class names"
    assert printed.splitlines()[-1] == written
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["inputs.png"]
    assert run(tmp_path / "other", {"show.png": str(tmp_path / "page.png")}) == 0
    assert (tmp_path / "page.png").exists() and not (tmp_path / "other").exists()


def test_a_page_shows_what_training_refuses(tmp_path, capsys):
    large = {"data.source": "synthetic_jpeg", "data.train_crop.name": "pad", "show.png": str(tmp_path / "page.png")}
    assert run(tmp_path, large) == 0
    assert "warning      " in (out := capsys.readouterr().out) and "'pad' cuts 12 x 12 pixels" in out


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"config.show.png='.*none/page.png' cannot be written"):
        run(tmp_path, {"show.png": str(tmp_path / "none" / "page.png")})


def test_captions_name_both_classes_of_a_mixed_image():
    labels, partners = np.array([0, 1, 2, 0, UNREADABLE]), np.array([1, 1, 0, 2, 0])
    shown = ShownInputs("", np.zeros((5, 2, 2, 3)), labels, partners, np.array([0.251, 1.0, 0.001, 0.999, 1.0]))
    found = captions(shown, ("cat", "dog", "日本"))
    assert found == ["25 % cat\n75 % dog", "dog", "cat", "cat", "(unreadable)"]


def test_a_page_that_cannot_be_drawn_is_one_log_line(tmp_path, caplog):
    def fail():
        raise UsageError("no image\ncan be read")

    built = dataclasses.replace(experiment.build(tiny_config()), show_inputs=fail)
    assert write_page(built, tmp_path / "inputs.png") is None
    assert f"{tmp_path / 'inputs.png'} could not be drawn: no image can be read" in caplog.text


@pytest.fixture
def started(tmp_path):
    """Returns a run that starts at a step, before anything is compiled, and what it has shown in TensorBoard."""

    def start(step, changes):
        made, shown = object.__new__(run_module._Run), []
        made.experiment, made.workdir = experiment.build(tiny_config(changes)), Workdir(tmp_path)
        made.start = Position(step)
        writers = SimpleNamespace(image=lambda step, tag, pixels: shown.append((step, tag, pixels.shape)))
        with made._drawing_inputs(writers):
            pass
        return made.workdir.inputs.exists(), shown

    return start


def test_a_new_run_draws_its_inputs(started):
    exists, ((step, name, shape),) = started(0, {"log.inputs": True})
    assert exists and (step, name) == (0, "inputs") and shape[1:] == (840, 3)


@pytest.mark.parametrize(("step", "draws"), [(1, True), (0, False)])
def test_a_continued_run_or_one_that_should_not_draws_nothing(started, step, draws):
    assert started(step, {"log.inputs": draws}) == (False, [])


@pytest.mark.slow
def test_drawing_compiles_nothing_after_the_first_step(tmp_path):
    workdir, config = Workdir(tmp_path / "run"), tiny_config({"log.inputs": True, "train.total_steps": 2})
    with workdir.lock():
        assert train(experiment.build(config), workdir, experiment.resolve(config), StopRequests()) == 0
    result = json.loads(workdir.result.read_text())
    assert workdir.inputs.exists() and result["programs_compiled_later"] == 0
