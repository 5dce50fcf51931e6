"""torchvision as in its reference (`references/classification/presets.py`, PIL): normalized float32, CHW."""

from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ENDLESS = 10**9  # number of images, more than any measurement takes


def version() -> str:
    """See the package."""
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}"


def batches(*, folder: Path, batch_size: int, image_size: int, cores: int) -> Iterator[int]:
    """See the package."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(image_size),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(mean=_MEAN, std=_STD),
        ]
    )
    files = torchvision.datasets.ImageFolder(str(folder / "train"), transform)
    endless = RandomSampler(files, replacement=True, num_samples=_ENDLESS)  # no pause of the workers between epochs
    for images, _ in DataLoader(files, batch_size, sampler=endless, num_workers=cores):
        yield len(images)
