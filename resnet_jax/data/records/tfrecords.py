"""Random access to TFRecord shards by an index of record offsets, which is built once and cached in a file.

TFRecord files store no such index, so the first use reads the headers of all records.
"""

import functools
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.data.records.index_cache import Index, cached_index, opened_shard
from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.records import sample
from resnet_jax.data.records.scan import scan
from resnet_jax.data.records.tfrecord_format import find_records, open_at_random, read_record
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)

_VERSION = 1  # version of the format of the cached index


class TFRecordFiles:
    """Implements `RecordFiles` for TFRecord shards; verifies the checksum of each record that it reads."""

    def __init__(self, paths: Sequence[str], counts: np.ndarray, boundaries: np.ndarray):
        """Takes the paths of the shards, and their numbers of records and record boundaries.

        Args:
          paths: [F] the paths.
          counts: [F] int64, number of records of each shard.
          boundaries: [sum(counts) + F] int64, for each shard the byte offsets of its records, then its size.
        """
        firsts = np.cumsum(counts + 1) - (counts + 1)
        self._entries = dict(zip(paths, zip(firsts.tolist(), counts.tolist(), strict=True), strict=True))
        self._boundaries = boundaries
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of records in a shard."""
        return self._entries[path][1]

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the data of one record of a shard."""
        entry = self._entries[path][0] + number
        start, stop = self._boundaries[entry : entry + 2].tolist()
        with self._descriptors.opened(path) as descriptor:
            return read_record(descriptor, start, stop)


def open_tfrecords(paths: Sequence[str], *, cache_dir: Path | None) -> TFRecordFiles:
    """Opens shards by the index cached beside them or in `cache_dir`.

    Builds the index if it is missing or the shards have changed. Building verifies the checksums of all record lengths,
    and of the data of up to four records per shard.

    Args:
      paths: the distinct paths of the shards.
      cache_dir: directory for the index if the directory of the shards is read-only; None: the index is then not saved.

    Raises:
      UsageError: a shard cannot be read, is truncated or damaged.
    """
    index = cached_index(
        paths, functools.partial(_build, paths), cache_dir=cache_dir, version=_VERSION, kind="record_index"
    )
    return TFRecordFiles(paths, index["counts"], index["boundaries"])


def _build(paths: Sequence[str]) -> Index:
    """Returns the arrays `counts` and `boundaries` of `TFRecordFiles`."""
    start = time.monotonic()
    logger.info("indexing the records of %d files, for example %s", len(paths), paths[0])
    boundaries = scan(_find_and_verify, paths, title="records")
    counts = np.array([len(one) - 1 for one in boundaries], np.int64)
    logger.info("indexed %d records in %.1f s", counts.sum(), time.monotonic() - start)
    return {"counts": counts, "boundaries": np.concatenate(boundaries)}


def _find_and_verify(path: str) -> np.ndarray:
    with opened_shard(path) as descriptor:
        boundaries = find_records(path, descriptor)
        _verify(path, descriptor, boundaries)
        return boundaries


def _verify(path: str, descriptor: int, boundaries: np.ndarray) -> None:
    for number in sample(path, len(boundaries) - 1):
        try:
            read_record(descriptor, *boundaries[number : number + 2].tolist())
        except ValueError as error:
            raise UsageError(f"{path} record {number} is damaged ({error}): copy or prepare it again") from None
