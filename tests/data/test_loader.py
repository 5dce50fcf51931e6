import dataclasses

import numpy as np
import pytest

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import Central, RandomResized
from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.host_augment import TrivialAugment
from resnet_jax.data.loader import Loader, read_with_retries
from resnet_jax.data.sources import Example
from resnet_jax.errors import UsageError
from tests.data.encoded import encode, smooth


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Encoded images of different sizes; the label is the index."""

    name: str = "smooth/train"
    class_names: tuple = tuple("abcdefghij")
    broken: tuple = ()

    def __len__(self):
        return 10

    def __getitem__(self, index):
        encoded = encode(smooth(20 + index, 30, seed=index), "PNG" if index % 2 else "JPEG")
        return Example(encoded[:200] if index in self.broken else encoded, index)

    def where(self, index):
        return f"smooth-{index}.jpg"


def train_loader(*, batch_size=6, source=None, **options):
    return Loader(source or Smooth(), batch_size=batch_size, crops=random_resized(12), **options)


def random_resized(size):
    return RandomResized(size, (0.3, 1.0), (0.75, 1.333))


def growing_loader(**options):
    """Returns a loader of images of 8, 12 and 10 pixels, from steps 0, 7 and 9."""
    crops = CropStages(tuple(map(random_resized, (8, 12, 10))), end_steps=(7, 9))
    return dataclasses.replace(train_loader(**options), crops=crops)


def eval_loader(source=None, **options):
    return Loader(source or Smooth(), batch_size=4, training=False, crops=Central(12, 12 / 14), **options)


def arrays(loaded):
    return [*loaded.batch, loaded.unreadable]


def assert_equal(loaded, other):
    for array, expected in zip(arrays(loaded), arrays(other), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_batch_is_a_function_of_the_step():
    loader = train_loader()
    first = [loader.batch(step) for step in (0, 7)]
    assert_equal(train_loader().batch(7), first[1])  # another loader, another order of calls
    assert_equal(train_loader().batch(0), first[0])
    assert (train_loader(seed=1).batch(0).batch.image != first[0].batch.image).any()


def test_the_same_example_is_cropped_anew_in_each_epoch():
    loader = train_loader(batch_size=10)
    first, second = loader.batch(0).batch, loader.batch(1).batch
    images = {int(label): image for label, image in zip(first.label, first.image, strict=True)}
    differs = [(images[int(label)] != image).any() for label, image in zip(second.label, second.image, strict=True)]
    assert all(differs)


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_rows_of_all_processes_concatenated_are_the_batch(processes):
    parts = [train_loader(process_index=p, process_count=processes).batch(3) for p in range(processes)]
    whole = [np.concatenate(rows) for rows in zip(*(arrays(part) for part in parts), strict=True)]
    for array, expected in zip(whole, arrays(train_loader().batch(3)), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_sees_every_example_once_on_any_number_of_processes(processes):
    labels = []
    for process in range(processes):
        loader = eval_loader(process_index=process, process_count=processes)
        assert loader.num_batches == 3
        for step in range(3):
            batch = loader.batch(step).batch
            assert not batch.image[~batch.mask].any()
            labels += batch.label[batch.mask].tolist()
    assert sorted(labels) == list(range(10))


def test_images_keep_their_labels():
    batch = eval_loader().batch(1).batch
    for image, label in zip(batch.image, batch.label, strict=True):
        colour = smooth(20 + label, 30, seed=label).mean((0, 1))
        assert abs(image.mean((0, 1)) - colour).max() < 40
    assert batch.image.dtype == np.uint8 and batch.label.dtype == np.int32 and batch.mask.dtype == bool


def test_training_replaces_an_unreadable_example():
    whole, loader = train_loader(batch_size=10), train_loader(batch_size=10, source=Smooth(broken=(3, 5)))
    for step in range(3):
        expected, (batch, unreadable, _) = whole.batch(step).batch, loader.batch(step)
        assert sorted(expected.label[unreadable]) == [3, 5]  # in the rows of the unreadable examples
        assert not {3, 5} & set(batch.label.tolist())
        np.testing.assert_array_equal(batch.image[~unreadable], expected.image[~unreadable])
        assert batch.mask.all() and batch.image.any((1, 2, 3)).all()
        assert_equal(loader.batch(step), train_loader(batch_size=10, source=Smooth(broken=(3, 5))).batch(step))
    replacements = [int(loader.batch(step).batch.label[loader.batch(step).unreadable][0]) for step in range(20)]
    assert len(set(replacements)) > 4  # not always the same replacement


def test_the_replacement_does_not_depend_on_the_processes():
    broken = {"source": Smooth(broken=(0, 1, 2, 3))}
    parts = [train_loader(process_index=p, process_count=3, **broken).batch(2).batch for p in range(3)]
    assert (
        np.concatenate([part.label for part in parts]).tolist() == train_loader(**broken).batch(2).batch.label.tolist()
    )


def test_evaluation_marks_an_unreadable_example_by_its_label():
    loader = eval_loader(Smooth(broken=(1, 9)))
    first, last = loader.batch(0), loader.batch(2)
    assert first.batch.label.tolist() == [0, UNREADABLE, 2, 3]
    assert first.unreadable.tolist() == [False, True, False, False] and first.batch.mask.all()
    assert not first.batch.image[1].any()
    assert last.unreadable.tolist() == [False, True, False, False]  # padding is not unreadable
    assert last.batch.mask.tolist() == [True, True, False, False]


def test_a_missing_disk_is_reported():
    class Gone(Smooth):
        def __getitem__(self, index):
            raise FileNotFoundError(2, "No such file or directory", f"/data/{index}.jpg")

    with pytest.raises(UsageError, match=r"smooth-\d.jpg cannot be read \(.*No such file.*, nor can 10 others of"):
        train_loader(source=Gone()).batch(0)


def test_the_read_error_of_an_example():
    loader = train_loader(source=Smooth(broken=(3, 4)))
    assert "runcated" in loader.read_error(4)
    assert loader.read_error(5) is None


def test_io_errors_are_retried(monkeypatch):
    monkeypatch.setattr("resnet_jax.data.loader._RETRY_DELAYS", (0.0, 0.0, 0.0))
    failures = []

    class Slow(Smooth):
        def __getitem__(self, index):
            if index == 3 and len(failures) < 3:
                failures.append(index)
                raise OSError(116, "Stale file handle")
            return super().__getitem__(index)

    assert_equal(train_loader(batch_size=10, source=Slow()).batch(0), train_loader(batch_size=10).batch(0))
    assert len(failures) == 3
    failures.clear()
    monkeypatch.setattr("resnet_jax.data.loader._RETRY_DELAYS", ())
    assert train_loader(batch_size=10, source=Slow()).batch(0).unreadable.sum() == 1


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(36, "File name too long"), OSError(40, "loop")]
)
def test_errors_that_no_retry_can_cure_are_not_retried(error, monkeypatch):
    monkeypatch.setattr("resnet_jax.data.loader._RETRY_DELAYS", (0.0, 0.0))
    reads = []

    class Closed(Smooth):
        def __getitem__(self, index):
            reads.append(index)
            raise error

    with pytest.raises(type(error)):
        read_with_retries(Closed(), 3)
    assert reads == [3]


def test_an_error_in_a_crop_is_not_an_unreadable_image():
    def crop(height, width, boxes, draws):
        raise ValueError("a mistake")

    crop.size, crop.num_uniforms = 12, 0
    with pytest.raises(ValueError, match="a mistake"):
        dataclasses.replace(train_loader(), crops=crop).batch(0)


def test_boxes_reach_the_crop():
    @dataclasses.dataclass(frozen=True)
    class Noted:
        size: int = 12
        num_uniforms: int = 3
        seen: list = dataclasses.field(default_factory=list)

        def __call__(self, height, width, boxes, draws):
            self.seen.append((height, width, boxes, draws))
            return Central(12, 1.0)(height, width, boxes, draws)

    class Boxed(Smooth):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(boxes=np.full((1, 4), index, np.float32))

    crop = Noted()
    labels = dataclasses.replace(train_loader(source=Boxed()), crops=crop).batch(0).batch.label
    for label, (height, width, boxes, draws) in zip(labels, crop.seen, strict=True):
        assert (height, width, boxes[0, 0], len(draws)) == (20 + label, 30, label, 3)


def test_images_have_the_size_of_their_step():
    loader = growing_loader()
    assert loader.image_sizes == (8, 12, 10)
    sizes = [8] * 7 + [12] * 2 + [10] * 2
    for step in (10, 0, 6, 7, 8, 9):  # in any order
        assert loader.image_size_at(step) == sizes[step]
        assert loader.batch(step).batch.image.shape == (6, sizes[step], sizes[step], 3)
    assert loader.image_size_at(10**9) == 10
    assert loader.first_images(2).shape == (2, 8, 8, 3)
    assert_equal(loader.batch(8), train_loader().batch(8))  # the size of earlier batches does not matter


@dataclasses.dataclass(frozen=True)
class Noting:
    """Inverts the image and records its random numbers."""

    num_uniforms: int = 3
    seen: list = dataclasses.field(default_factory=list)

    def __call__(self, image, draws):
        self.seen.append(draws)
        return 255 - image


def test_augmentation_uses_random_numbers_of_the_position():
    loader, plain = train_loader(augment=Noting()), train_loader().batch(4)
    np.testing.assert_array_equal(loader.batch(4).batch.image, 255 - plain.batch.image)
    np.testing.assert_array_equal(loader.batch(4).batch.label, plain.batch.label)
    first, second = loader.augment.seen[:6], loader.augment.seen[6:]
    assert first == second and all(len(draws) == 3 for draws in first)
    assert len({number for draws in first for number in draws}) == 18
    loader.batch(5)
    train_loader(seed=1, augment=loader.augment).batch(4)
    assert len({tuple(draws) for draws in loader.augment.seen}) == 18  # other positions, other seeds
    crop_draws = uniforms(int(combine(2, 0)[0]), loader.rows(4).positions, 40)
    assert not set(crop_draws.ravel()) & {number for draws in first for number in draws}


def test_the_black_image_of_an_unreadable_example_is_not_augmented():
    loaded = dataclasses.replace(eval_loader(Smooth(broken=(1,))), augment=Noting()).batch(0)
    assert not loaded.batch.image[1].any() and loaded.batch.image[0].any()


def test_augmented_batches_are_functions_of_the_step_on_any_number_of_processes():
    loader = train_loader(augment=TrivialAugment())
    assert_equal(loader.batch(3), train_loader(augment=TrivialAugment()).batch(3))
    parts = [train_loader(augment=TrivialAugment(), process_index=p, process_count=2).batch(3) for p in range(2)]
    images = np.concatenate([part.batch.image for part in parts])
    np.testing.assert_array_equal(images, loader.batch(3).batch.image)
    assert (images != train_loader().batch(3).batch.image).any()


def test_repeats_of_an_image_are_cropped_and_augmented_anew():
    for augment in (None, TrivialAugment()):
        batch = train_loader(repeats=3, num_groups=3, augment=augment).batch(0).batch
        assert batch.label[0] == batch.label[2] == batch.label[4] != batch.label[1]
        assert (batch.image[0] != batch.image[2]).any() and (batch.image[2] != batch.image[4]).any()
