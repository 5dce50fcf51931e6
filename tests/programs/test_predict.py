import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from resnet_jax.data.decode import decode
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment import PredictOptions, predict_options
from resnet_jax.programs.predict import predict
from resnet_jax.programs.trained_network import TrainedNetwork
from tests.tiny import tiny_config
from tests.weights.untrained_weights import untrained

NAMES = tuple("abcdefghij")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The paths of eleven synthetic photographs."""
    folder = tmp_path_factory.mktemp("files")
    size = {"image_height": 40, "image_width": 60}
    source = open_source("synthetic_jpeg", training=False, num_train=1, num_eval=11, num_classes=10, **size)
    paths = [str(folder / f"{index}.jpg") for index in range(len(source))]
    for index, path in enumerate(paths):
        cv2.imwrite(path, decode(source[index].image)[..., ::-1])
    return paths


def lines(capsys, paths, *, changes=None, **wanted):
    options = {"top_k": 3, "format": "json", "batch_size": 8} | wanted
    status = predict(TrainedNetwork(*untrained(changes), NAMES), paths, PredictOptions(**options))
    return status, capsys.readouterr().out.splitlines()


def test_a_line_for_each_file_in_order_whatever_the_batch(capsys, files):
    status, one = lines(capsys, files)
    assert status == 0
    answers = [json.loads(line) for line in one]
    assert [answer["path"] for answer in answers] == files
    for answer in answers:
        assert len(answer["predictions"]) == 3
        for found in answer["predictions"]:
            assert found["name"] == NAMES[found["class"]] and 0 <= found["probability"] <= 1
    assert len({answer["predictions"][0]["probability"] for answer in answers}) == 11  # the images differ
    other = [json.loads(line) for line in lines(capsys, files[::-1], batch_size=100)[1]][::-1]
    for left, right in zip(answers, other, strict=True):
        for old, new in zip(left["predictions"], right["predictions"], strict=True):
            assert new == old | {"probability": pytest.approx(old["probability"], abs=1e-6)}


def test_unreadable_files_get_an_error_line_and_the_others_predictions(capsys, files, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(Path(files[0]).read_bytes()[:200])
    paths = [str(tmp_path / "cut.jpg"), files[0], "none.jpg", str(tmp_path), files[1]]
    status, said = lines(capsys, paths)
    answers = [json.loads(line) for line in said]
    assert status == 0 and [answer["path"] for answer in answers] == paths
    assert ["error" in answer for answer in answers] == [True, False, True, True, False]
    assert answers[2]["error"] == "there is no such file"


def test_the_exit_status_is_2_if_no_file_can_be_read(capsys):
    status, said = lines(capsys, ["none.jpg"])
    assert status == 2 and len(said) == 1


def test_the_table(capsys, files):
    _, said = lines(capsys, [files[0], "none.jpg"], format="table", top_k=2)
    _, json_lines = lines(capsys, [files[0]], top_k=2)
    first, second = json.loads(json_lines[0])["predictions"]
    width = len(files[0])
    cells = "  ".join(f"{100 * found['probability']:5.1f} % {found['name']}" for found in (first, second))
    assert said == [f"{files[0]}  {cells}", f"{'none.jpg':<{width}}  cannot be read: there is no such file"]


def test_top_k_above_the_number_of_classes_lists_all_classes(capsys, files):
    assert len(json.loads(lines(capsys, files[:1], top_k=99)[1][0])["predictions"]) == 10


def test_a_probability_that_is_nan_is_null_in_json(capsys, files, monkeypatch):
    inference, selected = untrained()
    selected.variables["params"]["head"]["bias"][:] = np.nan
    assert predict(TrainedNetwork(inference, selected, NAMES), files[:1], PredictOptions(1, "json", 8)) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["probability"] is None


def test_control_characters_in_file_names_are_escaped(capsys, files, tmp_path):
    odd = tmp_path / "new\nline\x1b[31m.jpg"
    odd.write_bytes(Path(files[0]).read_bytes())
    _, said = lines(capsys, [str(odd)], format="table", top_k=1)
    assert len(said) == 1 and r"new\nline\x1b[31m.jpg" in said[0]


def test_an_unknown_format_is_an_error():
    with pytest.raises(UsageError, match=r"config.predict.format='xml' is not one of table, json"):
        predict_options(tiny_config({"predict.format": "xml"}))
