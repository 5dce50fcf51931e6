"""A source of random images, so that any config runs without data."""

import dataclasses

import numpy as np

from resnet_jax.data.hashing import combine
from resnet_jax.data.sources.source import Example


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Images of uniform random pixels with random labels; each example is a pure function of its index."""

    name: str
    num_examples: int
    class_names: tuple[str, ...]
    image_size: int

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> Example:
        key = int(combine(index)[0])
        shape = (self.image_size, self.image_size, 3)
        pixels = np.random.Generator(np.random.SFC64(key)).integers(256, size=shape, dtype=np.uint8)
        return Example(pixels, key % len(self.class_names))

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the name of the source and the index; there is no file."""
        return f"{self.name}[{index}], generated"


def open_source(
    *,
    training: bool = True,
    num_train: int = 1_281_167,
    num_eval: int = 250,
    num_classes: int = 1000,
    image_size: int = 224,
) -> SyntheticSource:
    """Opens the training or the evaluation split: `num_train` or `num_eval` square images of `image_size` pixels."""
    return SyntheticSource(
        name="synthetic/train" if training else "synthetic/eval",
        num_examples=num_train if training else num_eval,
        class_names=tuple(str(label) for label in range(num_classes)),
        image_size=image_size,
    )
