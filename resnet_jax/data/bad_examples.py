"""Records unreadable examples in the file `bad_examples.jsonl`, and ends the run if there are too many of them."""

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
    """The unreadable examples of a run, kept in a file of JSON lines with the keys source, index, where and error.

    Each example is listed once, even if several processes, epochs or starts of the run fail to read it. A process
    reports an unreadable example to all processes; process 0 appends it to the file.
    """

    def __init__(self, path: Path, *, at_most: int, channel: Channel | None = None):
        """Reads the unreadable examples that earlier starts of the run have listed.

        Args:
          path: path of `bad_examples.jsonl`; the file is created at the first unreadable example.
          at_most: the largest number of unreadable examples that the run tolerates.
          channel: sends messages between the processes of the run; None: the run has only one process.
        """
        self._path, self._at_most, self._channel = path, at_most, channel or Channel()
        self._records = {(record["source"], record["index"]): record for record in _read_records(path)}
        self._listed = set(self._records)  # (source, index) of each record in the file; only in process 0
        self._checked: set[str] = set()  # names of the sources whose listed examples this start has tried again
        self._met_any = False  # whether this start of the run has met an unreadable example
        self._disk_error: OSError | None = None  # error in writing the file, which `_check` raises
        self._lock = threading.Lock()  # messages are handled in a thread of the channel
        self._channel.on("bad_example", self._receive)
        self._channel.on("readable_again", self._remove)

    def __len__(self) -> int:
        return len(self._records)

    def watch(self, loaded: Iterator[LoadedBatch], loader: Loader, *, start: int) -> Iterator[HostBatch]:
        """Yields the batches of steps `start`, `start + 1`, ... of a loader and reports their unreadable examples.

        Raises:
          UsageError: there are more unreadable examples than `at_most`.
          OSError: the list cannot be written.
        """
        self._remove_repaired(loader)
        for step, (batch, unreadable) in enumerate(loaded, start):
            if unreadable.any():
                self._report(loader, loader.rows(step).indices[unreadable])
            self._check()
            yield batch

    def collect(self) -> None:
        """Waits for the reports of all processes, so that the list is complete. All processes must call this method.

        Raises:
          UsageError: there are more unreadable examples than `at_most`.
          OSError: the list cannot be written.
        """
        self._channel.gather("")  # messages arrive in the order sent: all earlier reports have arrived
        self._check()

    def _check(self) -> None:
        if self._disk_error is not None:
            raise self._disk_error
        if self._met_any and len(self) > self._at_most:
            raise UsageError(
                f"{len(self)} images cannot be read, more than config.data.max_bad_examples={self._at_most}: "
                f"repair those that {self._path} lists, or raise --config.data.max_bad_examples"
            )

    def _remove_repaired(self, loader: Loader) -> None:
        """Reads the listed examples of the loader's source again and unlists those that are now readable.

        Only in process 0, and once for each source and start of the run.
        """
        name = loader.source.name
        if name in self._checked or not self._channel.is_main:
            return
        self._checked.add(name)
        with self._lock:
            listed = [index for source, index in self._records if source == name]
        repaired = [index for index in listed if index >= len(loader.source) or loader.read_error(index) is None]
        if repaired:
            logger.info("%d images of %s that could not be read earlier can be read now", len(repaired), name)
            self._channel.send("readable_again", source=name, indices=repaired)

    def _remove(self, message: Message) -> None:
        """Handles the message 'readable_again' in every process: removes its examples from the list."""
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
        """Reports the unreadable examples `indices` of a source to all processes, except those reported before."""
        source = loader.source
        self._met_any = True
        for index in (int(index) for index in indices):
            if (source.name, index) in self._records:
                continue
            record = {"source": source.name, "index": index, "where": source.where(index)}
            record["error"] = loader.read_error(index) or "the first attempt to read it failed, a later one succeeded"
            treatment = "another example replaces it" if loader.training else "it counts as a wrong prediction"
            with self._lock:
                self._records[source.name, index] = record
            self._channel.send("bad_example", record=record, treatment=treatment)

    def _receive(self, message: Message) -> None:
        """Handles the message 'bad_example' in every process, the sender included: adds the example to the list."""
        record = message["record"]
        key = record["source"], record["index"]
        with self._lock:
            self._records[key] = record
            self._met_any = True
            if self._channel.is_main and key not in self._listed:  # not yet reported by another process
                self._listed.add(key)
                logger.warning("%s cannot be read (%s): %s", record["where"], record["error"], message["treatment"])
                try:
                    self._append(record)
                except OSError as error:
                    self._disk_error = error

    def _append(self, record: dict) -> None:
        with self._path.open("a+b") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # ends the incomplete last line that a killed process left
            file.write(_line(record).encode())


def _line(record: dict) -> str:
    return json.dumps(record) + "\n"


def _read_records(path: Path) -> list[dict]:
    """Reads the records of a JSON lines file; skips incomplete lines, which a killed process may leave."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
