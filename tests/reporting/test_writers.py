import json
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.errors import UsageError, disk_full_as_usage_error
from resnet_jax.reporting import writers
from resnet_jax.reporting.writers import Writers


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_added_and_nan_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        with Writers(path, tensorboard_dir=None) as out:
            out.scalars(step, "train", {"loss": 0.5, "grad_norm": float("nan")})
            assert lines(path)[-1]["step"] == step  # at once, not at the end
    assert lines(path)[0] == {"step": 1, "split": "train", "loss": 0.5, "grad_norm": None}
    assert len(lines(path)) == 2


# In a process of its own: TensorFlow's warnings are not this project's.
WRITE_AND_READ = """
import json, sys
from pathlib import Path
import numpy as np
from resnet_jax.reporting.writers import Writers
assert "tensorflow" not in sys.modules
with Writers(Path(sys.argv[1]) / "m.jsonl", tensorboard_dir=Path(sys.argv[1])) as out:
    settings = {"seed": 0, "model.depth": 50, "data.data_dir": None, "input.mean": [1.0, 2.0]}
    out.hyperparameters("mine", settings, leave_out=["eval/top5"])
    out.image(0, "train/images", lambda: np.zeros((4, 5, 3), np.uint8))
    out.scalars(3, "train", {"loss": 0.5, "top5": float("nan")})
    out.scalars(4, "eval", {"top1": 0.25, "top5": float("nan"), "count": 8})
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
assert tf.config.get_visible_devices("GPU") == []
events = EventAccumulator(sys.argv[1]).Reload()
scalars = {tag: [[e.step, float(tf.make_ndarray(e.tensor_proto))] for e in events.Tensors(tag)]
           for tag in ("train/loss", "eval/top1")}
images = len(tf.make_ndarray(events.Tensors("train/images")[0].tensor_proto)) - 2  # after width and height
from tensorboard.plugins.hparams import metadata
content = {tag: found.plugin_data.content for tag, found in events.summary_metadata.items()}
columns = metadata.parse_experiment_plugin_data(content["_hparams_/experiment"])
row = metadata.parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
print(json.dumps({
    "scalars": scalars,
    "images": images,
    "tags": sorted(tag for tag in content if "/" in tag and not tag.startswith("_")),
    "name": row.group_name,
    "depth": row.hparams["model.depth"].number_value,
    "settings": [info.name for info in columns.hparam_infos],
    "metrics": [info.name.tag for info in columns.metric_infos],
}))
"""


def test_tensorboard_reads_what_was_written(tmp_path):
    command = [sys.executable, "-c", WRITE_AND_READ, tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "scalars": {"train/loss": [[3, 0.5]], "eval/top1": [[4, 0.25]]},
        "images": 1,
        "tags": ["eval/top1", "train/images", "train/loss"],  # no card for what is constant or not known
        "name": "mine",
        "depth": 50,
        "settings": ["model.depth", "seed", "data.data_dir", "input.mean"],
        "metrics": ["eval/top1", "eval/loss", "train/loss", "train/images_per_second"],
    }


def test_without_tensorflow_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level("INFO", logger="resnet_jax"), Writers(tmp_path / "m.jsonl", tensorboard_dir=tmp_path) as out:
        out.scalars(1, "train", {"loss": 0.5})
        out.image(1, "train/images", lambda: np.zeros((2, 2, 3), np.uint8))
    assert "no event files: tensorflow not installed (pip install -e '.[tensorboard]')" in caplog.text
    assert len(lines(tmp_path / "m.jsonl")) == 1


def test_an_error_in_the_thread_is_raised_at_the_end(tmp_path, monkeypatch):
    class Broken:
        def write_scalars(self, step, scalars):
            raise OSError("no space")

        def flush(self):
            pass

        def close(self):
            pass

    monkeypatch.setattr(writers, "_tensorboard_installed", lambda: True)
    monkeypatch.setattr(writers, "_open_summary_writer", lambda directory: Broken())
    with pytest.raises(OSError, match="no space"), Writers(tmp_path / "m.jsonl", tensorboard_dir=tmp_path) as out:
        out.scalars(1, "train", {"loss": 0.5})


def test_after_an_error_the_writer_is_not_called_again(tmp_path, monkeypatch):
    """TensorFlow prints several lines each time it fails to write."""
    calls = []

    class WriterError(Exception):
        """Like tensorflow.errors.ResourceExhaustedError, it is no OSError."""

    class Full:
        def write_scalars(self, step, scalars):
            calls.append(step)
            raise WriterError("events.v2; No space left on device\nCould not flush events file.")

        def flush(self):
            calls.append("flush")

        def close(self):
            calls.append("close")

    monkeypatch.setattr(writers, "_tensorboard_installed", lambda: True)
    monkeypatch.setattr(writers, "_open_summary_writer", lambda directory: Full())
    message = r"^the disk is full: make room and run the same command again to continue$"
    with (
        pytest.raises(UsageError, match=message),
        disk_full_as_usage_error("to continue"),
        Writers(tmp_path / "m.jsonl", tensorboard_dir=tmp_path) as out,
    ):
        for step in range(20):
            out.scalars(step, "train", {"loss": 0.5})
    assert calls == [0]
