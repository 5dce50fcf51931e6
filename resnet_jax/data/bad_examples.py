"""Records unreadable examples in the file `bad_examples.jsonl`, and ends the run if there are too many of them."""

import errno
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.data.batch import HostBatch
from resnet_jax.data.loader import LoadedBatch, Loader
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.lines import is_number, is_text
from resnet_jax.distributed.messages import Message
from resnet_jax.errors import UsageError
from resnet_jax.files import write_atomically
from resnet_jax.text import labelled, printable

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
        self._checked: set[str] = set()  # names of the sources that `_remove_repaired` has tried again
        self._met_any = False  # whether this start of the run has met an unreadable example
        self._disk_error: OSError | None = None  # error in writing the file, which `_check` raises
        self._num_messages = 0  # number of decoder messages in this process since the last `collect`
        self._lock = threading.Lock()  # messages are handled in a thread of the channel
        self._channel.on("bad_example", self._receive, record=_is_record, treatment=is_text)
        self._channel.on("readable_again", self._remove, source=is_text, indices=_are_indices)

    def __len__(self) -> int:
        return len(self._records)

    def watch(self, loaded: Iterator[LoadedBatch], loader: Loader, *, start: int) -> Iterator[HostBatch]:
        """Yields the batches of steps `start`, `start + 1`, ... of a loader and reports their unreadable examples.

        Raises:
          UsageError: there are more unreadable examples than `at_most`.
          OSError: the list cannot be written.
        """
        self._remove_repaired(loader)
        for step, (batch, unreadable, num_messages) in enumerate(loaded, start):
            self._num_messages += num_messages
            if unreadable.any():
                self._report(loader, loader.rows(step).indices[unreadable])
            self._check()
            yield batch

    def collect(self) -> None:
        """Waits for the reports of all processes, so that the list is complete. All processes must call this method.

        Process 0 also logs how many messages of decoders were not shown since the last call, if there were any.

        Raises:
          UsageError: there are more unreadable examples than `at_most`.
          OSError: the list cannot be written.
        """
        # Messages arrive in the order in which they are sent, so all earlier reports arrive before this call returns.
        num_messages = sum(map(int, self._channel.gather(str(self._num_messages))))
        self._num_messages = 0
        if num_messages and self._channel.is_main:
            logger.info("%s", decoder_messages_line(num_messages))
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
        """Reads the listed examples of the loader's source again; removes from the list those that are now readable.

        Only process 0 does this, and only once for each source in each start of the run.
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
        """Handles the message 'readable_again' in every process: removes the examples that it names from the list."""
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
        """Reports the unreadable examples `indices` to all processes, except those that the list already has."""
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
                where, error = printable(record["where"]), printable(record["error"])
                logger.warning("%s cannot be read (%s): %s", where, error, message["treatment"])
                try:
                    self._append(record)
                except OSError as error:
                    self._disk_error = error

    def _append(self, record: dict) -> None:
        with self._path.open("a+b") as file:
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # ends the incomplete last line that a killed process left
            file.write(_line(record).encode())


def decoder_messages_line(count: int) -> str:
    """Returns the log line about `count` messages of decoders that were not shown."""
    return labelled("decoders", f"{count:,} messages of libtiff or Pillow about image files were not shown")


def _is_record(value: Any) -> bool:
    """Whether a JSON value has the keys and types of a record of the list."""
    return (
        isinstance(value, dict)
        and value.keys() == {"source", "index", "where", "error"}
        and is_number(value["index"])
        and all(is_text(value[name]) for name in ("source", "where", "error"))
    )


def _are_indices(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _line(record: dict) -> str:
    return json.dumps(record) + "\n"


def _read_records(path: Path) -> list[dict]:
    """Reads the records of a JSON lines file; skips incomplete or damaged lines, such as a killed process may leave.

    Raises:
      UsageError: the file cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError(errno.EISDIR, "it is not a file")
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): move it away and run again; unreadable images are then listed "
            "anew"
        ) from None
    return [record for line in lines if _is_record(record := _parsed(line))]


def _parsed(line: bytes) -> Any:
    """Returns the JSON value of a line; None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
