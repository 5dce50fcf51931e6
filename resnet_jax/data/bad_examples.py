"""Keeps account of examples that cannot be read."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_jax.batch import HostBatch
from resnet_jax.data.loader import Loaded, Loader
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)


class BadExamples:
    """The list of all that a run has met, one JSON object a line: source, index, where, error.

    An example is listed once, however often it is met; so the list of a continued run is that of an undisturbed one.
    """

    def __init__(self, path: Path, *, at_most: int):
        """Goes on with the list at `path`; more than `at_most` of them end the run."""
        self._path, self._at_most = path, at_most
        self._known = {(record["source"], record["index"]) for record in _records(path)}

    def __len__(self) -> int:
        return len(self._known)

    def watch(self, loaded: Iterator[Loaded], loader: Loader, *, start: int) -> Iterator[HostBatch]:
        """Passes batches `start`, ... of a loader on, and lists what is bad in them.

        Raises:
          UsageError: there are too many.
        """
        for step, (batch, unreadable) in enumerate(loaded, start):
            if unreadable.any():
                self._add(loader, loader.rows(step).indices[unreadable])
            yield batch

    def _add(self, loader: Loader, indices: np.ndarray) -> None:
        source = loader.source
        for index in (int(index) for index in indices):
            if (source.name, index) in self._known:
                continue
            record = {"source": source.name, "index": index, "where": source.where(index)}
            record["error"] = loader.problem(index)
            self._write(record)
            self._known.add((source.name, index))
            done = "another stands in for it" if loader.replaces else "it counts as wrong"
            logger.warning("%s cannot be read (%s): %s", record["where"], record["error"], done)
        if len(self) > self._at_most:
            raise UsageError(
                f"{len(self)} examples cannot be read, more than config.data.max_bad_examples={self._at_most}: "
                f"repair or remove what {self._path} lists, or allow more"
            )

    def _write(self, record: dict) -> None:
        with self._path.open("a+b") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # after half a line, which a kill left
            file.write(json.dumps(record).encode() + b"\n")


def _records(path: Path) -> list[dict]:
    """What is listed; a line that a kill cut short is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
