"""Keeps account of examples that cannot be read."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_jax.data.batch import HostBatch
from resnet_jax.data.loader import Loaded, Loader
from resnet_jax.distributed.channel import Channel, Message
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)


class BadExamples:
    """The list of all that a run has met, one JSON object a line: source, index, where, error.

    An example is listed once, however often it is met; so the list of a continued run is that of an undisturbed one.
    All processes know of those that any of them meets; process 0 writes them down.
    """

    def __init__(self, path: Path, *, at_most: int, channel: Channel | None = None):
        """Goes on with the list at `path`; more than `at_most` of them end the run."""
        self._path, self._at_most, self._channel = path, at_most, channel or Channel()
        self._records = {(record["source"], record["index"]): record for record in _records(path)}
        self._checked: set[str] = set()  # sources of which the list was compared with what can be read now
        self._met = False  # any, since this object was made
        self._unwritten: list[dict] = []
        self._lock = threading.Lock()  # others' examples come in a thread of the channel
        self._channel.on("bad_example", self._take)
        self._channel.on("readable_again", self._forget)

    def __len__(self) -> int:
        return len(self._records)

    def watch(self, loaded: Iterator[Loaded], loader: Loader, *, start: int) -> Iterator[HostBatch]:
        """Passes batches `start`, ... of a loader on, and lists what is bad in them.

        Raises:
          UsageError: there are too many.
        """
        self._forget_repaired(loader)
        for step, (batch, unreadable) in enumerate(loaded, start):
            if unreadable.any():
                self._add(loader, loader.rows(step).indices[unreadable])
            self._write_new()
            if self._met and len(self) > self._at_most:
                raise UsageError(
                    f"{len(self)} images cannot be read, more than config.data.max_bad_examples={self._at_most}: "
                    f"repair those that {self._path} lists, or allow more"
                )
            yield batch
        self._write_new()

    def _forget_repaired(self, loader: Loader) -> None:
        """Takes off the list what an earlier start could not read and process 0 now can."""
        name = loader.source.name
        if name in self._checked or not self._channel.is_main:
            return
        self._checked.add(name)
        with self._lock:
            listed = [index for source, index in self._records if source == name]
        repaired = [index for index in listed if index >= len(loader.source) or loader.problem(index) is None]
        if repaired:
            logger.info("%d images of %s that could not be read can be read now", len(repaired), name)
            self._channel.send("readable_again", source=name, indices=repaired)

    def _forget(self, message: Message) -> None:
        """Takes examples off the list in every process."""
        with self._lock:
            for index in message["indices"]:
                self._records.pop((message["source"], index), None)
            if self._channel.is_main:
                part = self._path.with_name(self._path.name + ".part")
                part.write_text("".join(map(_line, self._records.values())))
                part.replace(self._path)
                self._unwritten.clear()

    def _add(self, loader: Loader, indices: np.ndarray) -> None:
        source = loader.source
        self._met = True
        for index in (int(index) for index in indices):
            if (source.name, index) in self._records:
                continue
            record = {"source": source.name, "index": index, "where": source.where(index)}
            record["error"] = loader.problem(index) or "it could not be read at first, and can be now"
            done = "another stands in for it" if loader.replaces else "it counts as wrong"
            with self._lock:
                self._records[source.name, index] = record
            self._channel.send("bad_example", record=record, done=done)

    def _take(self, message: Message) -> None:
        """Takes in what this or another process has met."""
        record = message["record"]
        with self._lock:
            self._records[record["source"], record["index"]] = record
            self._met = True
            if self._channel.is_main:
                self._unwritten.append(record)
                logger.warning("%s cannot be read (%s): %s", record["where"], record["error"], message["done"])

    def _write_new(self) -> None:
        with self._lock:
            records, self._unwritten = self._unwritten, []
            for record in records:
                self._write(record)

    def _write(self, record: dict) -> None:
        with self._path.open("a+b") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # after half a line, which a kill left
            file.write(_line(record).encode())


def _line(record: dict) -> str:
    return json.dumps(record) + "\n"


def _records(path: Path) -> list[dict]:
    """What is listed; a line that a kill cut short is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
