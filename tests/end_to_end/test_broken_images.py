"""An image that cannot be read ends the run with its number, and no step that was made is lost."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.order import TrainOrder
from tests.data.encoded import encode
from tests.end_to_end import processes


class Spotted(tfds.core.GeneratorBasedBuilder):
    """Forty random images of two classes, of which one in each split is no image."""

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


@pytest.mark.filterwarnings("ignore")  # those of TFDS for a builder inside a test
def test_training_and_evaluation_save_before_they_fail(tmp_path):
    # The broken training image comes in the fourth batch, two of which are made ahead.
    rows = TrainOrder(40, 8, seed=0).rows(3).indices
    Spotted.broken = int(rows[0])
    tfds.disable_progress_bar()
    Spotted(data_dir=tmp_path, file_format="array_record").download_and_prepare()

    done = processes.run("configs/digits.py", tmp_path / "train", tmp_path, CHANGES)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: example {rows[0]} of spotted/train cannot be read (")
    assert done.stderr.count("\n") == 1
    (step,) = (int(path.name) for path in (tmp_path / "train" / "checkpoints").iterdir())
    assert 0 <= step <= 3

    done = processes.run(
        "configs/digits.py", tmp_path / "eval", tmp_path, CHANGES | {"data.train_split": "train[:0]+test[8:]"}
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: example 7 of spotted/test cannot be read (")
    assert (tmp_path / "eval" / "checkpoints" / "5").is_dir()
    assert json.loads((tmp_path / "eval" / "config.json").read_text())["data"]["name"] == "spotted"
