import numpy as np

from resnet_jax.data.crops import PadAndCrop
from resnet_jax.data.loader import Loader
from resnet_jax.data.resize import create_resize
from resnet_jax.data.sources import Example
from resnet_jax.data.sources.synthetic_jpeg import SyntheticJpegSource


class Source:
    """Images of random sizes and pixels; some of them cannot be read."""

    name, class_names = "random", ("a", "b", "c")

    def __init__(self, unreadable=()):
        self.unreadable = unreadable

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index in self.unreadable:
            raise ValueError("no image")
        rng = np.random.default_rng(index)
        height, width = rng.integers(20, 40, 2)
        return Example(rng.integers(0, 256, (height, width, 3), np.uint8), index % 3)

    def where(self, index):
        return f"image {index}"


def test_the_crop_of_an_origin_is_what_the_batch_shows():
    loader = Loader(Source(), batch_size=6, seed=3, resize="bilinear")
    batch, rows = loader.batch(4).batch, loader.rows(4)
    for row, origin in enumerate(loader.origins(4, range(6))):
        image = loader.stored_image(origin.example)
        assert image.shape[:2] == (origin.height, origin.width)
        top, left, height, width = map(round, origin.crop)
        out = np.empty((224, 224, 3), np.uint8)
        create_resize("bilinear")(np.ascontiguousarray(image[top : top + height, left : left + width]), out)
        np.testing.assert_array_equal(out, batch.image[row])
        assert (origin.label, origin.example, origin.replaced) == (batch.label[row], rows.indices[row], None)
        assert origin.position == rows.positions[row] == 24 + row


def test_a_crop_of_a_padded_image_may_extend_beyond_it():
    loader = Loader(Source(), batch_size=6, crops=PadAndCrop(size=16, padding=4))
    batch = loader.batch(0).batch
    for row, origin in enumerate(loader.origins(0, range(6))):
        padded = np.pad(loader.stored_image(origin.example), ((4, 4), (4, 4), (0, 0)))
        top, left, height, width = map(round, origin.crop)
        assert (height, width) == (16, 16)
        np.testing.assert_array_equal(padded[top + 4 : top + 20, left + 4 : left + 20], batch.image[row])


def test_an_unreadable_example_has_the_origin_of_its_replacement():
    whole = Loader(Source(), batch_size=6, crops=PadAndCrop(size=16, padding=4))
    lost = int(whole.rows(0).indices[2])
    loader = Loader(Source((lost,)), batch_size=6, crops=PadAndCrop(size=16, padding=4))
    (origin,) = loader.origins(0, [2])
    assert origin.replaced == lost and origin.example != lost
    assert origin.label == loader.batch(0).batch.label[2] == origin.example % 3


def test_files_are_read_again():
    source = SyntheticJpegSource("made", num_examples=8, num_classes=2, height=50, width=60)
    loader = Loader(source, batch_size=4)
    (origin,) = loader.origins(1, [3])
    assert (origin.height, origin.width) == loader.stored_image(origin.example).shape[:2] == (50, 60)
