"""Checks of the input pipeline: how many images/s the CPU cores decode, and whether the data can be read."""

import itertools
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from resnet_jax.data.sources.source import Source
from resnet_jax.errors import UsageError
from resnet_jax.programs.doctor.finding import Finding, error, ok, warning

_BATCH, _FILES = 8, 32  # images in a batch, and number of different JPEG files, in the decoding measurement
_SAMPLED = 8  # number of examples of each split that are read as a sample


def decoding(*, seconds: float = 1.5) -> list[Finding]:
    """Measures how many JPEG files (500 x 375 pixels) a second the CPU cores decode, crop and resize to 224 pixels."""
    from resnet_jax.data.feed import cores  # noqa: PLC0415  it loads JAX and Grain
    from resnet_jax.data.loader import Loader  # noqa: PLC0415
    from resnet_jax.data.sources import open_source  # noqa: PLC0415

    source = open_source("synthetic_jpeg", training=True, num_train=_FILES, num_classes=_BATCH)
    loader = Loader(source, batch_size=_BATCH)
    for step in range(_FILES // _BATCH):  # not measured: the source generates each file when it is first read
        loader.batch(step)
    start, steps = time.perf_counter(), itertools.count()

    def decode_until_the_end() -> int:
        done = 0
        while time.perf_counter() < start + seconds:
            loader.batch(next(steps))
            done += _BATCH
        return done

    with ThreadPoolExecutor(cores()) as threads:
        images = sum(threads.map(lambda _: decode_until_the_end(), range(cores())))
    rate = images / (time.perf_counter() - start)
    return [ok("decoding", f"{rate:,.0f} images/s with {cores()} threads (500 x 375 pixels, cropped to 224)")]


def data(splits: Mapping[str, Source], max_pixels: int) -> list[Finding]:
    """Reads and decodes a few examples of each split.

    Args:
      splits: the training and the evaluation set by name.
      max_pixels: largest number of pixels that an image may have.
    """
    start, read = time.perf_counter(), 0
    for split, source in splits.items():
        sampled = np.unique(np.linspace(0, len(source) - 1, _SAMPLED).astype(int)).tolist()
        problems = {index: problem for index in sampled if (problem := _problem(source, index, max_pixels))}
        read += len(sampled)
        if problems:
            index, problem = next(iter(problems.items()))
            text = (
                f"{split}: {len(problems)} of {len(sampled)} examples cannot be used ({source.where(index)}: {problem})"
            )
            judge = error if len(problems) == len(sampled) else warning
            return [judge("data", text, cure="--mode=check_data with the same flags lists all such images")]
    sizes = ", ".join(f"{split} {len(source):,} images" for split, source in splits.items())
    rate = read / (time.perf_counter() - start)
    classes = len(next(iter(splits.values())).class_names)
    return [ok("data", f"{sizes}, {classes:,} classes; {read} of them read and decoded, {rate:,.0f} a second")]


def _problem(source: Source, index: int, max_pixels: int) -> str:
    """Returns why an example cannot be used; '' if it can."""
    from resnet_jax.data.decode import decode  # noqa: PLC0415

    try:
        example = source[index]
        if isinstance(example.image, bytes):
            decode(example.image, max_pixels)
    except (OSError, ValueError, UsageError) as wrong:
        return " ".join(str(wrong).split())
    return ""
