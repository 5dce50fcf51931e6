"""Measures the memory of the input pipeline on a source of the size of ImageNet: 1,281,167 records in 1,024 files.

    python benchmarks/input_memory.py [--source tfrecord|tfds] [--batches N] [--cores N]

The records contain tiny images, as r1's TFRecord shards or as the ArrayRecord files of --mode=prepare (which take
minutes to write), in a temporary directory of 2 GB. After each batch the program reads the resident memory of this
process, minus that before the source was opened. "above the buffers" also subtracts the buffers of batches that are
being filled or are queued.
"""

import argparse
import io
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import numpy as np
import psutil
from PIL import Image

from resnet_jax import experiment
from resnet_jax.configs import resnet50
from resnet_jax.data.feed import host_batches
from resnet_jax.programs.prepare.builder import Imagenet2012, Split
from tests.data.record_files import serialised, write_tfrecord

_RECORDS, _FILES = 1_281_167, 1024


def main() -> None:
    """Writes the files, reads batches from them and prints the memory used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=_WRITERS, default="tfrecord", help="file format (tfrecord)")
    parser.add_argument("--batches", type=int, default=1000, help="number of batches of 128 images (1000)")
    parser.add_argument("--cores", type=int, default=2, help="decoding threads (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        _WRITERS[options.source](Path(directory))
        before = psutil.Process().memory_info().rss
        levels = [rss - before for rss in _rss_while_reading(directory, options)]
    buffers = (2 * options.cores + 1) * 128 * 224 * 224 * 3  # being filled, queued, and the one in use
    tenth = max(1, len(levels) // 10)
    print(f"{_RECORDS:,} records in {_FILES:,} files ({options.source})")
    print(f"{options.batches:,} batches of 128, {options.cores} threads")
    print(f"above the start     {max(levels) / 1e6:,.0f} MB at most")
    print(f"batch buffers       {buffers / 1e6:,.0f} MB")
    print(f"above the buffers   {(max(levels) - buffers) / 1e6:,.0f} MB")
    print(f"growth              {(np.mean(levels[-tenth:]) - np.mean(levels[tenth : 2 * tenth])) / 1e6:,.0f} MB")


def _rss_while_reading(directory: str, options: argparse.Namespace) -> Iterator[int]:
    config = resnet50.get_config()
    config.data.source = options.source
    config.data.data_dir = directory
    config.data.eval_split = "train"
    config.data.batch_size = 128
    loader = experiment.build(config).data.train_loader
    for _ in host_batches(loader, start=0, stop=options.batches, num_threads=options.cores, num_workers=0):
        yield psutil.Process().memory_info().rss


def _write_tfrecords(directory: Path) -> None:
    records = [serialised({"image/encoded": _image(k), "image/class/label": k + 1}) for k in range(1000)]
    ends = np.linspace(0, _RECORDS, _FILES + 1).astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(ends.tolist())):
        path = directory / f"train-{number:05}-of-{_FILES:05}"
        write_tfrecord(path, [records[record % len(records)] for record in range(start, end)])


def _write_array_records(directory: Path) -> None:
    features = [{"image": _image(k), "label": k, "file_name": str(k), "bboxes": []} for k in range(1000)]
    examples = ((str(record), features[record % len(features)]) for record in range(_RECORDS))
    # The size of ImageNet in bytes, from which TFDS derives 1,024 files.
    split = Split(examples=examples, num_examples=_RECORDS, num_bytes=138_000_000_000)
    builder = Imagenet2012(data_dir=directory, variant=None, splits={"train": split}, metadata={})
    builder.download_and_prepare(download_dir=directory / "none")


def _image(label: int) -> bytes:
    pixels = np.random.default_rng(label).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


_WRITERS = {"tfrecord": _write_tfrecords, "tfds": _write_array_records}

if __name__ == "__main__":
    main()
