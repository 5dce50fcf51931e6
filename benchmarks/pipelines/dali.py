"""NVIDIA DALI's CPU pipeline for ResNet-50, as in `docs/examples/use_cases/pytorch/resnet50/main.py --dali_cpu`.

There images are normalized on the GPU. Here `normalize=True` does it on the CPU, to float32 CHW.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvidia import dali
from nvidia.dali import fn, types

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def version() -> str:
    """See the package."""
    return f"DALI {dali.__version__}"


def batches(*, folder: Path, batch_size: int, image_size: int, cores: int, normalize: bool) -> Iterator[int]:
    """See the package."""

    @dali.pipeline_def(batch_size=batch_size, num_threads=cores, device_id=None, seed=0)
    def graph() -> tuple[Any, Any]:
        encoded, labels = fn.readers.file(file_root=str(folder / "train"), random_shuffle=True, name="Reader")
        images = fn.decoders.image_random_crop(
            encoded,
            device="cpu",
            output_type=types.RGB,
            random_aspect_ratio=[3 / 4, 4 / 3],
            random_area=[0.08, 1.0],
            num_attempts=10,
        )
        images = fn.resize(images, resize_x=image_size, resize_y=image_size, interp_type=types.INTERP_TRIANGULAR)
        if normalize:
            images = fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=_MEAN, std=_STD)
        return images, labels

    pipeline = graph()
    pipeline.build()
    while True:
        images, _ = pipeline.run()
        yield len(images)
