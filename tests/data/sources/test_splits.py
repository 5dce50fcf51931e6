import random

import pytest
from tensorflow_datasets.core import splits as tfds_splits

from resnet_jax.data.sources.splits import Part, parse_split
from resnet_jax.errors import UsageError

NUMBERS = ["", "0", "3", "7", "-2", "50%", "33%", "12.5%", "-10%", "100%", "1_0"]
SLICES = [f"[{start}:{stop}]" for start in NUMBERS for stop in NUMBERS if start or stop]


def rows_of_tfds(text, total):
    """Returns the examples of 'train' that TFDS selects, or None if it rejects the slice."""
    info = tfds_splits.SplitInfo(name="train", shard_lengths=[total], num_bytes=0)
    try:
        (found,) = tfds_splits.AbstractSplit.from_spec(text).to_absolute({"train": info})
    except (ValueError, AssertionError):
        return None
    return list(range(total)[slice(found.from_, found.to)])


@pytest.mark.parametrize("total", [10, 37])
def test_slices_are_those_of_tfds(total):
    accepted = 0
    for text in ["train", *(f"train{part}" for part in random.Random(0).sample(SLICES, 60))]:
        expected = rows_of_tfds(text, total)
        try:
            split = parse_split("train_split", text)
            rows = list(split.rows(split.parts[0], total))
        except UsageError:
            rows = None
        assert (rows or None) == (expected or None), text
        accepted += rows is not None
    assert accepted > 20


def test_a_sum_of_splits_has_several_parts():
    parts = parse_split("train_split", "train[:90%] + extra+my photos[5:]").parts
    assert parts == (Part("train", None, 90, True), Part("extra"), Part("my photos", 5))
    assert [part.is_whole for part in parts] == [False, True, False]


@pytest.mark.parametrize(
    "text",
    ["", "train[", "train[:]", "train[5]", "train[:x]", "train[:1.5]", "train[::2]", "train[:101%]", "+", "train[:9]x"],
)
def test_what_is_no_split_is_reported_with_the_key(text):
    with pytest.raises(
        UsageError, match=r"^config.data.eval_split='.*' is not a split: write it as train, train\[:90%"
    ):
        parse_split("eval_split", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train[:0%]",
            r"^config.data.train_split='train\[:0%\]' selects none of the 10 images of 'train': take a larger",
        ),
        ("train[7:3]", "selects none of the 10 images"),
        ("train[:11]", "is outside of 'train', which has 10 images: take a smaller slice$"),
        ("train[-11:]", "is outside of 'train'"),
    ],
)
def test_an_empty_slice_or_one_outside_the_split_is_reported(text, message):
    split = parse_split("train_split", text)
    with pytest.raises(UsageError, match=message):
        split.rows(split.parts[0], 10)
