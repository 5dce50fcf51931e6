import dataclasses
import itertools

import jax
import numpy as np
import pytest

from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.host_augment import RandAugment
from resnet_jax.data.sources import Source, open_source
from resnet_jax.distributed.mesh import make_mesh
from tests.data.test_loader import Smooth, arrays, growing_loader, train_loader

SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in [(2, 0), (0, 1), (4, 4)]]


@pytest.mark.parametrize(("threads", "workers"), [(0, 0), (1, 0), (4, 0), (None, 0), (1, 2), *SLOW])
def test_threads_and_workers_do_not_change_batches_of_changing_image_sizes(threads, workers):
    loader = growing_loader(augment=RandAugment(2, 9.0, 0.5, 0.5))
    batches = host_batches(loader, start=4, stop=12, num_threads=threads, num_workers=workers)
    for step, batch in zip(range(4, 12), batches, strict=True):
        assert batch.batch.image.shape[1] == loader.image_size_at(step)
        for array, expected in zip(arrays(batch), arrays(loader.batch(step)), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_the_image_size_may_change_between_batches_on_the_devices():
    loader = growing_loader()
    batches = host_batches(loader, start=4, stop=12, num_threads=3, num_workers=0)
    mesh = make_mesh(jax.devices()[:2])
    for step, batch in enumerate(device_batches((loaded.batch for loaded in batches), mesh=mesh), 4):
        assert batch.image.shape[1] == loader.image_size_at(step)
        for array, expected in zip(batch, loader.batch(step).batch, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert step == 11


SLOW_ERRORS = [pytest.param(*case, marks=pytest.mark.slow) for case in [(2, 0), (1, 2), (4, 4)]]


@pytest.mark.parametrize(("threads", "workers"), [(0, 0), (1, 0), (4, 0), (None, 0), (0, 1), *SLOW_ERRORS])
def test_an_error_while_decoding_reaches_the_caller(threads, workers):
    loader = train_loader(source=Smooth(broken=tuple(range(10))))
    with pytest.raises(Exception, match="cannot be read .*, nor can 10 others of smooth/train"):
        list(host_batches(loader, start=0, stop=10, num_threads=threads, num_workers=workers))


def test_a_late_start_skips_earlier_batches_at_no_cost():
    source = open_source("synthetic", training=True, num_train=1_281_167, num_eval=1, num_classes=9, image_size=4)
    loader = train_loader(source=source, batch_size=2)
    start = 10**9  # skipping 10^9 batches one by one would take years
    first = next(host_batches(loader, start=start, stop=start + 5, num_threads=1, num_workers=0))
    np.testing.assert_array_equal(first.batch.image, loader.batch(start).batch.image)


@dataclasses.dataclass(frozen=True)
class Noted:
    """A source that records the indices that are read."""

    source: Source
    indices: list = dataclasses.field(default_factory=list)
    name: str = "noted"

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.indices.append(index)
        return self.source[index]


def read_by_each(processes, *, num_examples, batch_size, steps):
    """Returns the indices that each process reads for the same batches."""
    options = {"num_eval": 1, "num_classes": 9, "image_size": 4}
    shares = []
    for process in range(processes):
        source = Noted(open_source("synthetic", training=True, num_train=num_examples, **options))
        loader = train_loader(source=source, batch_size=batch_size, process_index=process, process_count=processes)
        for batch in host_batches(loader, start=steps.start, stop=steps.stop, num_threads=2, num_workers=0):
            assert len(batch.batch.image) == batch_size // processes
        shares.append(source.indices)
    return shares


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_process_reads_its_share_of_an_epoch_and_nothing_else(processes):
    shares = read_by_each(processes, num_examples=480, batch_size=24, steps=range(20))
    assert [len(share) for share in shares] == [480 // processes] * processes
    assert sorted(itertools.chain.from_iterable(shares)) == list(range(480))  # hence none twice


@pytest.mark.parametrize("processes", [2, 4])
def test_a_late_start_reads_only_the_requested_batches(processes):
    late = {"num_examples": 1_281_167, "batch_size": 16, "steps": range(1_000_000, 1_000_003)}
    (whole,), shares = read_by_each(1, **late), read_by_each(processes, **late)
    assert [len(share) for share in shares] == [48 // processes] * processes
    assert sorted(itertools.chain.from_iterable(shares)) == sorted(whole) and len(set(whole)) == 48


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_batches_arrive_on_the_devices_in_order_two_ahead(devices):
    mesh = make_mesh(jax.devices()[:devices])
    asked = []

    def batches():
        for step in itertools.count():
            asked.append(step)
            yield train_loader(batch_size=8).batch(step).batch

    feed = device_batches(batches(), mesh=mesh)
    for step in range(3):
        batch = next(feed)
        assert asked[-1] == step + 2
        assert batch.image.sharding.num_devices == devices
        np.testing.assert_array_equal(batch.image, train_loader(batch_size=8).batch(step).batch.image)
