import errno
import itertools
import os

import numpy as np
import pytest
from tensorflow_datasets.core.writer import ExampleWriter

from resnet_jax.data.decode import decode
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare.archives import opened, scan_train
from resnet_jax.programs.prepare.boxes import Boxes
from resnet_jax.programs.prepare.builder import Imagenet2012, Split
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.programs.prepare.examples import ExampleMaker
from resnet_jax.programs.prepare.shrinking import Shrink
from tests.data import ilsvrc
from tests.data.encoded import encode, smooth

FILES = ilsvrc.make_files(num_classes=3, per_class=4, num_validation=1)


@pytest.fixture
def images(tmp_path):
    ilsvrc.write(tmp_path / "tars", FILES)
    return scan_train(tmp_path / "tars" / "ILSVRC2012_img_train.tar", lambda count: None, sequential=False)


def maker(images, shrink=None):
    return ExampleMaker(images=images, boxes=Boxes(), shrink=shrink, num_threads=2)


def test_only_larger_images_are_shrunk():
    image = smooth(100, 150)
    encoded = encode(image, "JPEG", quality=95)
    smaller = Shrink(50, 90)(encoded)
    assert decode(smaller).shape == (50, 75, 3)
    blocks = image.reshape(50, 2, 75, 2, 3).mean(axis=(1, 3))  # the area average by its definition
    assert np.abs(decode(smaller) - blocks).mean() < 2
    assert Shrink(100, 90)(encoded) is encoded
    assert decode(Shrink(33, 90)(encode(image[:99], "PNG"))).shape == (33, 50, 3)
    assert decode(Shrink(33, 90)(encode(image[:99], "JPEG", "CMYK"))).shape == (33, 50, 3)
    assert len(Shrink(50, 30)(encoded)) < len(smaller)
    with pytest.raises(ValueError, match="Truncated"):
        Shrink(50, 90)(encoded[:500])


def test_examples_have_the_requested_order_and_undecodable_images_are_unchanged(images):
    rows = np.array([14, 0, 7, 7, 3] + [5] * 100)
    made = list(maker(images).examples(rows))
    assert [key for key, _ in made] == [images.name(row) for row in rows]
    assert all(features["image"] == FILES.train[key] for key, features in made)
    shrinking = maker(images, Shrink(16, 90))
    shrunk = dict(shrinking.examples(np.arange(len(images))))
    assert shrinking.not_shrunk == [ilsvrc.TRUNCATED]
    for name, features in shrunk.items():
        if name == ilsvrc.TRUNCATED:
            assert features["image"] == FILES.train[name]
        else:
            assert decode(features["image"]).shape == (16, 20, 3)


def test_an_archive_that_became_shorter_is_reported(images):
    os.truncate(images.path, 2000)
    with opened(images.path, sequential=False) as descriptor, pytest.raises(UsageError, match="ends inside .* again"):
        images.read(descriptor, len(images) - 1)


def test_shards_have_the_lengths_that_tfds_chooses_and_nothing_is_read_early(tmp_path):
    split = Split(examples=itertools.count(), num_examples=1_281_167, num_bytes=138 * 10**9)
    builder = Imagenet2012(data_dir=tmp_path, variant=None, splits={"train": split}, metadata={})
    shards = builder._shard_iterators_per_split(None)["train"]
    assert len(shards) == 1024
    lengths = [1251, 1251, 1251, 1252]  # differences of round(k * 1,281,167 / 1,024)
    assert [len(list(shard())) for shard in shards[:4]] == lengths
    assert next(split.examples) == sum(lengths)


@pytest.mark.filterwarnings("ignore")  # warnings of TFDS about a builder defined in a test
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_disk_errors_are_os_errors_and_leave_nothing(tmp_path, images, monkeypatch, number):
    def write(self, path, examples):
        next(iter(examples))
        raise RuntimeError(f"write() failed: {os.strerror(number)}; writing {path}; at byte 65536")

    monkeypatch.setattr(ExampleWriter, "write", write)
    split = Split(maker(images).examples(np.arange(15)), num_examples=15, num_bytes=10_000)
    builder = Imagenet2012(data_dir=tmp_path / "data", variant=None, splits={"train": split}, metadata={})
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        builder.download_and_prepare(download_dir=tmp_path / "downloads")
    assert caught.value.errno == number
    assert list((tmp_path / "data" / "imagenet2012").iterdir()) == []


def test_a_counter_logs_its_total_and_stops_on_request(caplog):
    requests = StopRequests()
    requests.begin()
    with caplog.at_level("INFO", logger="resnet_jax"), Counter("written", total=7, requests=requests) as counter:
        counter.add(3)
        counter.add(4)
    assert caplog.messages[-1].startswith("written 7 of 7 images in 0:0")
    requests.ask("stop", "SIGTERM")
    with pytest.raises(StoppedError):
        counter.add(1)
