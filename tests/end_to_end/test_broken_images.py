"""Unreadable images are listed; too many of them end the run, after saving."""

import json
import warnings

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.order import TrainOrder
from tests.data.encoded import encode
from tests.end_to_end import processes


class Spotted(tfds.core.GeneratorBasedBuilder):
    """Writes forty random images of two classes; one file in each split is not an image."""

    VERSION = tfds.core.Version("1.0.0")
    broken = 0

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(self.broken), "test": self._generate_examples(7)}

    def _generate_examples(self, broken):
        import io

        for key in range(40):
            image = np.random.default_rng(key).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            png = encode(image, "PNG")
            yield key, {"image": io.BytesIO(png[:60] if key == broken else png), "label": key % 2}


CHANGES = processes.SMALL | {
    "data.name": "spotted",
    "data.batch_size": 8,
    "train.total_steps": 5,
    "eval.every_steps": 5,
    "checkpoint.every_steps": 100,
    "data.num_threads": 0,
}
# The broken training image is in the fourth batch; two batches are loaded ahead.
TRAIN, TEST = int(TrainOrder(40, 8, seed=0).rows(3).indices[0]), 7


@pytest.fixture(scope="module")
def spotted(tmp_path_factory):
    """A directory with the data set."""
    directory = tmp_path_factory.mktemp("spotted")
    Spotted.broken = TRAIN
    tfds.disable_progress_bar()
    with warnings.catch_warnings(action="ignore"):  # TFDS warns about a builder inside a test
        Spotted(data_dir=directory, file_format="array_record").download_and_prepare()
    return directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory, spotted):
    """A run that finished on a data set with unreadable images: its work directory and completed process."""
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, processes.run("configs/digits.py", workdir, spotted, CHANGES)


# tests/programs/test_train.py has both properties within one process, on a data source of its own.
pytestmark = pytest.mark.slow


def test_a_run_continues_and_lists_unreadable_images(finished):
    workdir, done = finished
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (workdir / "bad_examples.jsonl").read_text().splitlines()]
    assert [(record["source"], record["index"]) for record in records] == [
        ("spotted:1.0.0/train", TRAIN),
        ("spotted:1.0.0/test", TEST),
    ]
    assert "another example replaces it" in done.stdout and "it counts as a wrong prediction" in done.stdout
    assert f"unreadable   2 images: {workdir / 'bad_examples.jsonl'}" in done.stdout
    result = processes.read_result(workdir)
    assert (result["eval"]["count"], result["bad_examples"]) == (40, 2)


def test_with_a_worker_process_the_list_is_the_same(tmp_path, spotted, finished):
    done = processes.run("configs/digits.py", tmp_path, spotted, CHANGES | {"data.num_workers": 1})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bad_examples.jsonl").read_text() == (finished[0] / "bad_examples.jsonl").read_text()
    assert processes.read_result(tmp_path)["eval"] == processes.read_result(finished[0])["eval"]


@pytest.mark.parametrize(
    ("split", "workers", "at_step"),
    [
        ("train", 0, range(4)),
        ("train", 1, range(4)),
        ("test", 0, [5]),
    ],
)
def test_too_many_end_the_run_after_saving(tmp_path, spotted, split, workers, at_step):
    changes = CHANGES | {"data.max_bad_examples": 0, "data.num_workers": workers}
    if split == "test":
        changes["data.train_split"] = f"train[:{TRAIN}]+train[{TRAIN + 1}:]"
    done = processes.run("configs/digits.py", tmp_path, spotted, changes)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: 1 images cannot be read, more than config.data.max_bad_examples=0: repair")
    assert done.stderr.count("\n") == 1
    (step,) = (int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert step in at_step
