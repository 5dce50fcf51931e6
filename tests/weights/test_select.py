import dataclasses
import json

import numpy as np
import pytest

from resnet_jax.checkpoints import files
from resnet_jax.errors import UsageError
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.weights.select import outputs_and_names, read_class_names, read_selected, select_weights, selected_path
from tests.weights.untrained_weights import untrained

INFERENCE, SELECTED = untrained()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with checkpoints at steps 3, 10 and 20; step 10 is the best, step 3 has an average."""
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    workdir.checkpoints.mkdir()
    for step, top1 in ((3, 0.25), (10, 0.5), (20, None)):
        average = {"params": SELECTED.variables["params"], "batch_stats": SELECTED.variables["batch_stats"]}
        state = {**SELECTED.variables, **({"average": average} if step == 3 else {})}
        meta = {"step": step, "network": INFERENCE.network}
        files.write(workdir.checkpoints / str(step), state, meta, top1=top1)
    (workdir.path / "classes.json").write_text(json.dumps([f"name {number}" for number in range(10)]))
    return workdir


@pytest.mark.parametrize(("which", "step"), [("latest", 20), ("best", 10), ("3", 3)])
def test_a_checkpoint_of_the_run(workdir, which, step):
    assert selected_path(which, workdir.checkpoints) == str(workdir.checkpoints / str(step))
    stored = read_selected(which, workdir.checkpoints, kind=None)
    selected = select_weights(stored, INFERENCE.shapes, network=INFERENCE.network)
    assert (selected.step, selected.path, selected.sha256) == (
        step,
        selected_path(which, workdir.checkpoints),
        SELECTED.sha256,
    )
    assert selected.kind == ("ema" if step == 3 else "trained")
    np.testing.assert_array_equal(
        selected.variables["params"]["head"]["kernel"], SELECTED.variables["params"]["head"]["kernel"]
    )


def test_a_path_needs_no_run(tmp_path):
    assert selected_path("some/resnet50.pth", Workdir(tmp_path).checkpoints) == "some/resnet50.pth"


@pytest.mark.parametrize("which", ["5", "0"])
def test_a_step_without_a_checkpoint(workdir, which):
    with pytest.raises(UsageError, match=rf"no checkpoint '{which}' in .*, which has 3, 10, 20: set .* or the path"):
        selected_path(which, workdir.checkpoints)


@pytest.mark.parametrize("which", ["latest", "best"])
def test_a_run_without_checkpoints(tmp_path, which):
    with pytest.raises(UsageError, match=r"which has none: set config.eval.checkpoint to latest, best, a step or"):
        selected_path(which, Workdir(tmp_path).checkpoints)


def test_another_network_or_another_input_is_refused(workdir):
    stored = read_selected("latest", workdir.checkpoints, kind=None)
    other, _ = untrained({"input.std": (1.0, 1.0, 1.0)})
    with pytest.raises(UsageError, match=r"set --config.input.std='\(58.395, 57.12, 57.375\)'"):
        select_weights(stored, other.shapes, network=other.network)
    assert select_weights(stored, other.shapes, network=other.network, any_input=True).sha256 == SELECTED.sha256
    deeper, _ = untrained({"model.depth": 14})
    with pytest.raises(UsageError, match=r"set --config.model.depth=8"):
        select_weights(stored, deeper.shapes, network=deeper.network)


def test_names_of_outputs(workdir, tmp_path):
    stored, file = read_selected("latest", workdir.checkpoints, kind=None), tmp_path / "names.txt"
    assert outputs_and_names(stored, num_classes=None, class_names_file=None) == (10, stored.class_names)
    assert stored.class_names[9] == "name 9"
    fewer = dataclasses.replace(stored, class_names=stored.class_names[:8])  # more outputs than classes
    assert outputs_and_names(fewer, num_classes=None, class_names_file=None)[1][7:] == ("name 7", "class 8", "class 9")
    file.write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"another list of classes than config.model.class_names"):
        outputs_and_names(stored, num_classes=None, class_names_file=str(file))


def test_a_file_of_names(tmp_path):
    lines, listed = tmp_path / "names.txt", tmp_path / "names.json"
    lines.write_text("tabby cat\nçedilla\n", encoding="utf-8")
    listed.write_text('["tabby cat", "çedilla"]', encoding="utf-8")
    assert read_class_names(str(lines)) == read_class_names(str(listed)) == ("tabby cat", "çedilla")
    for content, message in (
        ("a\n\nb\n", "has an empty name"),
        ("", "is empty"),
        ('["a"', "cannot be read"),
        ('{"a": 1}', "is a JSON object"),
    ):
        lines.write_text(content)
        with pytest.raises(UsageError, match=message):
            read_class_names(str(lines))
    with pytest.raises(UsageError, match="cannot be read"):
        read_class_names(str(tmp_path / "none"))


def test_names_for_weights_without_class_names(workdir, tmp_path):
    stored = dataclasses.replace(
        read_selected("latest", workdir.checkpoints, kind=None), class_names=None, class_list=None
    )
    assert outputs_and_names(stored, num_classes=None, class_names_file=None)[1][:2] == ("class 0", "class 1")
    file = tmp_path / "names.txt"
    file.write_text("".join(f"n{number}\n" for number in range(10)))
    assert outputs_and_names(stored, num_classes=None, class_names_file=str(file))[1][1] == "n1"
    ours = dataclasses.replace(stored, class_list="0123456789abcdef")  # a checkpoint outside of its work directory
    with pytest.raises(UsageError, match=r"differs from the classes that .* was trained on"):
        outputs_and_names(ours, num_classes=None, class_names_file=str(file))
    with pytest.raises(UsageError, match=r"has 10 classes, not 12: name a file of 10 names"):
        outputs_and_names(stored, num_classes=12, class_names_file=None)
    with pytest.raises(UsageError, match="has 10 names for 12 outputs"):
        outputs_and_names(stored, num_classes=12, class_names_file=str(file))


@pytest.mark.parametrize(
    ("which", "line"),
    [
        ("latest", "20, the latest; 10 has the highest top-1 (eval.checkpoint=best)"),
        ("best", "10, with the highest top-1; 20 is the latest (eval.checkpoint=latest)"),
        ("3", None),
    ],
)
def test_the_log_says_which_checkpoint_was_chosen(workdir, which, line, caplog):
    caplog.set_level("INFO", "resnet_jax")
    read_selected(which, workdir.checkpoints, kind=None)
    assert [text for text in caplog.messages if text.startswith("checkpoint ")] == (
        [f"checkpoint   {line}"] if line else []
    )


@pytest.mark.parametrize(
    ("top1", "line"),
    [(0.5, "20, the latest and the one with the highest top-1"), (None, "20, the latest; none was evaluated")],
)
def test_the_log_of_a_single_checkpoint(tmp_path, top1, line, caplog):
    caplog.set_level("INFO", "resnet_jax")
    files.write(tmp_path / "20", SELECTED.variables, {"step": 20, "network": INFERENCE.network}, top1=top1)
    read_selected("latest", tmp_path, kind=None)
    assert f"checkpoint   {line}" in caplog.messages
