"""The contract that every source satisfies."""

import pickle

import numpy as np
import pytest

from resnet_jax.data.crops import BoxGuided, Central
from resnet_jax.data.decode import decode
from resnet_jax.data.feed import host_batches
from resnet_jax.data.loader import Loader
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
    examples = [train[index] for index in indices]  # in any order, repeatedly
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


def loaders(source, **fields):
    """Returns a training and an evaluation loader of a source."""
    options = {"batch_size": 8, "seed": 3, **fields}
    return (
        Loader(source, crops=BoxGuided(16, (0.2, 1.0), (0.75, 1.33), 0.1), **options),
        Loader(source, training=False, crops=Central(16, 16 / 18), **options),
    )


def arrays(loaded):
    return [*loaded.batch, loaded.unreadable]


def assert_equal(got, expected):
    for array, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_rows_of_all_processes_concatenated_are_the_batch(open_part, processes):
    source = open_part(training=True)
    parts = [loaders(source, process_index=p, process_count=processes) for p in range(processes)]
    for step, whole in ((0, loaders(source)[0]), (10**8, loaders(source)[0]), (1, loaders(source)[1])):
        kind = 0 if whole.training else 1
        rows = [arrays(part[kind].batch(step)) for part in parts]
        assert_equal([np.concatenate(array) for array in zip(*rows, strict=True)], arrays(whole.batch(step)))


@pytest.mark.parametrize(("threads", "workers"), [(3, 0), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_batches_do_not_depend_on_threads_workers_or_the_first_step(open_part, threads, workers):
    loader = loaders(open_part(training=True))[0]
    start = 10**8  # too many batches to skip one by one
    batches = host_batches(loader, start=start, stop=start + 3, num_threads=threads, num_workers=workers)
    for step, loaded in enumerate(batches, start):
        assert_equal(arrays(loaded), arrays(loader.batch(step)))


def test_unknown_source():
    with pytest.raises(UsageError, match="data.source='lmdb' is not one of cifar_binary, folder, parquet, "):
        open_source("lmdb", training=True)
