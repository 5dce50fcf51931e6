"""Random images: any config runs without data."""

import dataclasses

import numpy as np

from resnet_jax.data.hashing import combine
from resnet_jax.data.sources.source import Example


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Uniform random pixels and labels, both functions of the index alone."""

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
        """See `Source`."""
        return f"{self.name}[{index}], made when asked for"


def open_source(*, training: bool, num_train: int, num_eval: int, num_classes: int, image_size: int) -> SyntheticSource:
    """Opens the training or the evaluation part."""
    return SyntheticSource(
        name="synthetic/train" if training else "synthetic/eval",
        num_examples=num_train if training else num_eval,
        class_names=tuple(str(label) for label in range(num_classes)),
        image_size=image_size,
    )
