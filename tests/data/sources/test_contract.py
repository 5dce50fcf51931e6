"""One contract for all sources."""

import pickle

import numpy as np
import pytest

from resnet_jax.data.images import decode
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError


def pixels(example):
    return decode(example.image) if isinstance(example.image, bytes) else example.image


def same(example, other):
    return example.label == other.label and np.array_equal(pixels(example), pixels(other))


def test_contract(open_part):
    train, evaluation = open_part(training=True), open_part(training=False)
    assert len(train) > len(evaluation) > 0
    assert train.name != evaluation.name
    indices = [len(train) - 1, 0, 3, 3]
    examples = [train[index] for index in indices]  # in any order, more than once
    assert all(isinstance(train.where(index), str) for index in indices)
    assert same(examples[2], examples[3])
    assert not same(examples[0], examples[1])
    reopened, unpickled = open_part(training=True), pickle.loads(pickle.dumps(train))
    for index, example in zip(indices, examples, strict=True):
        assert pixels(example).dtype == np.uint8 and pixels(example).shape[2] == 3
        assert isinstance(example.label, int)
        assert same(reopened[index], example)
        assert same(unpickled[index], example)
    labels = {train[index].label for index in range(0, len(train), 7 if len(train) > 100 else 1)}
    assert labels == set(range(len(train.class_names)))


def test_unknown_source():
    with pytest.raises(UsageError, match="data.source='webdataset' is not one of folder, "):
        open_source("webdataset", training=True)
