import dataclasses
import functools

import numpy as np
import pytest

from resnet_jax.data import crops
from resnet_jax.data.loader import Loader
from resnet_jax.data.order import EvalOrder, TrainOrder
from resnet_jax.data.sources import Example
from resnet_jax.errors import UsageError
from tests.data.encoded import encode, smooth


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Encoded images of different sizes; the label is the index."""

    name: str = "smooth/train"
    class_names: tuple = ()
    broken: int | None = None

    def __len__(self):
        return 10

    def __getitem__(self, index):
        encoded = encode(smooth(20 + index, 30, seed=index), "PNG" if index % 2 else "JPEG")
        return Example(encoded[:200] if index == self.broken else encoded, index)


def train_loader(*, batch_size=6, seed=0, source=None, **fields):
    return Loader(
        source=source or Smooth(),
        order=TrainOrder(10, batch_size, seed),
        crop=functools.partial(crops.random_resized, area=(0.3, 1.0), aspect=(0.75, 1.333)),
        enlarge_to=None,
        image_size=12,
        seed=seed,
        **fields,
    )


def eval_loader(**fields):
    crop = functools.partial(crops.central, fraction=0.875)
    return Loader(Smooth(), EvalOrder(10, 4), crop, enlarge_to=None, image_size=12, seed=0, **fields)


def assert_equal(batch, other):
    for array, expected in zip(batch, other, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_batch_is_a_function_of_the_step():
    loader = train_loader()
    first = [loader.batch(step) for step in (0, 7)]
    assert_equal(train_loader().batch(7), first[1])  # another loader, another order of asking
    assert_equal(train_loader().batch(0), first[0])
    assert (train_loader(seed=1).batch(0).image != first[0].image).any()


def test_the_same_example_is_cropped_anew_in_each_epoch():
    loader = train_loader(batch_size=10)
    first, second = loader.batch(0), loader.batch(1)
    images = {int(label): image for label, image in zip(first.label, first.image, strict=True)}
    differs = [(images[int(label)] != image).any() for label, image in zip(second.label, second.image, strict=True)]
    assert all(differs)


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_rows_of_all_processes_put_together_are_the_batch(processes):
    parts = [train_loader(process_index=p, process_count=processes).batch(3) for p in range(processes)]
    assert_equal([np.concatenate(arrays) for arrays in zip(*parts, strict=True)], train_loader().batch(3))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_sees_every_example_once_whatever_the_processes(processes):
    labels = []
    for process in range(processes):
        loader = eval_loader(process_index=process, process_count=processes)
        assert loader.num_batches == 3
        for step in range(3):
            batch = loader.batch(step)
            assert not batch.image[~batch.mask].any()
            labels += batch.label[batch.mask].tolist()
    assert sorted(labels) == list(range(10))


def test_images_keep_their_labels():
    batch = eval_loader().batch(1)
    for image, label in zip(batch.image, batch.label, strict=True):
        colour = smooth(20 + label, 30, seed=label).mean((0, 1))
        assert abs(image.mean((0, 1)) - colour).max() < 40
    assert batch.image.dtype == np.uint8 and batch.label.dtype == np.int32 and batch.mask.dtype == bool


def test_a_file_that_has_gone_is_named():
    class Gone(Smooth):
        def __getitem__(self, index):
            raise FileNotFoundError(2, "No such file or directory", "/data/7.jpg")

    with pytest.raises(UsageError, match=r"example \d of smooth/train cannot be read \(.*No such file.*7.jpg"):
        train_loader(source=Gone()).batch(0)


def test_a_broken_image_is_named():
    loader = train_loader(batch_size=10, source=Smooth(broken=3))
    with pytest.raises(UsageError, match="example 3 of smooth/train cannot be read"):
        loader.batch(0)
