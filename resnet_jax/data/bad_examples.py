"""Lists examples that cannot be read in `bad_examples.jsonl`, and ends the run if there are too many."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_jax.data.batch import HostBatch
from resnet_jax.data.loader import LoadedBatch, Loader
from resnet_jax.distributed.channel import Channel, Message
from resnet_jax.errors import UsageError
from resnet_jax.files import write_atomically

logger = logging.getLogger(__name__)


class BadExamples:
    """The unreadable examples of a run, one JSON object per line: source, index, where, error.

    Each example is listed once, however many processes, epochs and starts of the run meet it. Every process reports
    what it meets to all processes. Process 0 writes each report when it arrives.
    """

    def __init__(self, path: Path, *, at_most: int, channel: Channel | None = None):
        """Reads the list of earlier starts of the run.

        Args:
          path: the list; created with the first bad example.
          at_most: the number of bad examples that a run tolerates.
          channel: connects the processes of the run; None: there is only this one.
        """
        self._path, self._at_most, self._channel = path, at_most, channel or Channel()
        self._records = {(record["source"], record["index"]): record for record in _read_records(path)}
        self._listed = set(self._records)  # process 0: keys of the records in the file
        self._checked: set[str] = set()  # names of the sources whose earlier bad examples were tried again
        self._met_any = False  # whether this start met a bad example
        self._disk_error: OSError | None = None  # raised in the main thread, not in the channel's
        self._lock = threading.Lock()  # reports of other processes arrive in a thread of the channel
        self._channel.on("bad_example", self._receive)
        self._channel.on("readable_again", self._remove)

    def __len__(self) -> int:
        return len(self._records)

    def watch(self, loaded: Iterator[LoadedBatch], loader: Loader, *, start: int) -> Iterator[HostBatch]:
        """Passes on the batches `start`, `start + 1`, ... of a loader and reports the bad examples in them.

        Raises:
          UsageError: there are more bad examples than allowed.
          OSError: the list cannot be written.
        """
        self._remove_repaired(loader)
        for step, (batch, unreadable) in enumerate(loaded, start):
            if unreadable.any():
                self._report(loader, loader.rows(step).indices[unreadable])
            self._check()
            yield batch

    def collect(self) -> None:
        """Waits for the reports of all processes; afterwards the list is complete. All processes must call it.

        Raises:
          UsageError: there are more bad examples than allowed.
          OSError: the list cannot be written.
        """
        self._channel.gather("")  # messages arrive in order: the reports sent before it have arrived
        self._check()

    def _check(self) -> None:
        if self._disk_error is not None:
            raise self._disk_error
        if self._met_any and len(self) > self._at_most:
            raise UsageError(
                f"{len(self)} images cannot be read, more than config.data.max_bad_examples={self._at_most}: "
                f"repair those that {self._path} lists, or allow more"
            )

    def _remove_repaired(self, loader: Loader) -> None:
        """Process 0: tries the listed examples of a source again, once per start, and removes the readable ones."""
        name = loader.source.name
        if name in self._checked or not self._channel.is_main:
            return
        self._checked.add(name)
        with self._lock:
            listed = [index for source, index in self._records if source == name]
        repaired = [index for index in listed if index >= len(loader.source) or loader.read_error(index) is None]
        if repaired:
            logger.info("%d images of %s that could not be read can be read now", len(repaired), name)
            self._channel.send("readable_again", source=name, indices=repaired)

    def _remove(self, message: Message) -> None:
        """Handles 'readable_again' in every process."""
        with self._lock:
            for index in message["indices"]:
                self._records.pop((message["source"], index), None)
                self._listed.discard((message["source"], index))
            if self._channel.is_main:
                content = "".join(_line(record) for key, record in self._records.items() if key in self._listed)
                try:
                    write_atomically(self._path, content)
                except OSError as error:
                    self._disk_error = error

    def _report(self, loader: Loader, indices: np.ndarray) -> None:
        """Sends a message to all processes for each example that was not reported before."""
        source = loader.source
        self._met_any = True
        for index in (int(index) for index in indices):
            if (source.name, index) in self._records:
                continue
            record = {"source": source.name, "index": index, "where": source.where(index)}
            record["error"] = loader.read_error(index) or "it could not be read at first, and can be read now"
            treatment = "another example replaces it" if loader.training else "it counts as a wrong prediction"
            with self._lock:
                self._records[source.name, index] = record
            self._channel.send("bad_example", record=record, treatment=treatment)

    def _receive(self, message: Message) -> None:
        """Handles 'bad_example' in every process, the sender included."""
        record = message["record"]
        key = record["source"], record["index"]
        with self._lock:
            self._records[key] = record
            self._met_any = True
            if self._channel.is_main and key not in self._listed:  # else another process reported it first
                self._listed.add(key)
                logger.warning("%s cannot be read (%s): %s", record["where"], record["error"], message["treatment"])
                try:
                    self._append(record)
                except OSError as error:
                    self._disk_error = error

    def _append(self, record: dict) -> None:
        with self._path.open("a+b") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # a killed process left half a line
            file.write(_line(record).encode())


def _line(record: dict) -> str:
    return json.dumps(record) + "\n"


def _read_records(path: Path) -> list[dict]:
    """Returns the records of a list, without a line that a kill cut short."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
