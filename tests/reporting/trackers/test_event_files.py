"""Event files, read back by TensorBoard: what this project writes without TensorFlow, and what CLU writes with it."""

import json
import subprocess
import sys

import pytest

# In a process of its own: the warnings of TensorFlow and TensorBoard are not this project's.
WRITE = """
import sys
from pathlib import Path
import numpy as np
from resnet_jax.reporting.trackers import TrackedRun, open_tracker
name, directory = sys.argv[1], Path(sys.argv[2])
settings = {"seed": 0, "model.depth": 50, "data.data_dir": None, "input.mean": [1.0, 2.0], "log.inputs": True}
for start_step in (0, 3):
    run = TrackedRun(directory, "0123abcd", start_step, settings, ("eval/top5",))
    tracker = open_tracker(name, run)
    if start_step == 0:
        tracker.image(0, "inputs", np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
        tracker.scalars(3, {"train/loss": 0.5, "train/lr": float("inf")})
    else:
        tracker.scalars(4, {"train/loss": 0.25, "eval/top1": 0.125})
    tracker.close(failed=False)
print("tensorflow" in sys.modules)
"""
READ = """
import json, sys
sys.modules["tensorflow"] = None  # not needed to read, and slow to load
from io import BytesIO
import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util
events = EventAccumulator(sys.argv[1]).Reload()
values = {tag: [[e.step, tensor_util.make_ndarray(e.tensor_proto)] for e in events.Tensors(tag)]
          for tag in events.Tags()["tensors"]}
(step, (width, height, png)), = values.pop("inputs")
content = {tag: found.plugin_data.content for tag, found in events.summary_metadata.items()}
columns = metadata.parse_experiment_plugin_data(content["_hparams_/experiment"])
row = metadata.parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
print(json.dumps({
    "scalars": {tag: [[step, float(value)] for step, value in curve] for tag, curve in values.items()
                if not tag.startswith("_")},
    "plugins": {tag: found.plugin_data.plugin_name for tag, found in events.summary_metadata.items()},
    "image": [step, int(width), int(height), np.asarray(Image.open(BytesIO(png))).ravel().tolist()],
    "name": row.group_name,
    "settings": {key: getattr(v, v.WhichOneof("kind")) for key, v in row.hparams.items()},
    "columns": [info.name for info in columns.hparam_infos],
    "metrics": [[info.name.tag, info.display_name] for info in columns.metric_infos],
}))
"""


def output(program, *words):
    done = subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1].lower() if program is WRITE else done.stdout.splitlines()[-1])


def read(name, directory):
    """Writes with a tracker and returns whether it loaded TensorFlow, and what TensorBoard reads."""
    loaded = output(WRITE, name, str(directory))
    return loaded, output(READ, str(directory))


EXPECTED = {
    "scalars": {
        "train/loss": [[3, 0.5], [4, 0.25]],
        "train/lr": [[3, float("inf")]],
        "eval/top1": [[4, 0.125]],
    },
    "plugins": {
        "_hparams_/experiment": "hparams",
        "_hparams_/session_start_info": "hparams",
        "inputs": "images",
        "train/loss": "scalars",
        "train/lr": "scalars",
        "eval/top1": "scalars",
    },
    "image": [0, 5, 4, list(range(60))],
    "name": "run",
    "settings": {
        "seed": 0.0,
        "model.depth": 50.0,
        "data.data_dir": "None",
        "input.mean": "[1.0, 2.0]",
        "log.inputs": True,
    },
    "columns": ["model.depth", "seed", "data.data_dir", "input.mean", "log.inputs"],
    "metrics": [
        ["eval/top1", "evaluation top-1"],
        ["eval/loss", "evaluation loss"],
        ["train/loss", "training loss"],
        ["train/images_per_second", "images/s"],
    ],
}


def test_tensorboard_reads_the_files_that_are_written_without_tensorflow(tmp_path):
    (tmp_path / "run").mkdir()
    assert read("tensorboard", tmp_path / "run") == (False, EXPECTED)
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 2  # one for each start, also in one second


@pytest.mark.slow
def test_the_files_of_clu_have_the_same_content(tmp_path):
    (tmp_path / "run").mkdir()
    assert read("clu", tmp_path / "run") == (True, EXPECTED)
