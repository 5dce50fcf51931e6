"""Messages between the processes of a run. Process 0 relays them, so that all processes get them in the same order."""

import contextlib
import json
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn

from resnet_jax.distributed.lines import encode
from resnet_jax.distributed.rendezvous import Connections
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)

Message = dict[str, Any]  # JSON values; 'kind' selects the handler, 'from' is the process id of the sender

_WAIT_TO_LEAVE = 30.0  # seconds that a thread waits at most until another thread ends this process
_WAIT_FOR_CAUSE = 5.0  # seconds that a failing process waits to learn whether another process failed first
_PATIENCE = 60.0  # seconds between log lines about the process that `gather` waits for


class Channel:
    """Connects the processes of a run. A context manager: an exception inside it ends all processes.

    If a process dies inside the context (killed, crashed, host lost), all other processes are ended too: their next
    collective operation would wait forever for the dead process.
    """

    def __init__(
        self,
        connections: Connections | None = None,
        *,
        process_id: int = 0,
        end_process: Callable[[int, str], None] | None = None,
    ):
        """Starts the threads that read and relay messages.

        Args:
          connections: the sockets to the other processes; None: the run has one process.
          process_id: number of this process, 0 to n - 1.
          end_process: function (exit status, last line to print) that ends this process while other threads still run;
            None: `_end_process`. Tests pass a stub.
        """
        self.process_id = process_id
        self._hosts = connections.hosts if connections else ("",)
        self._sockets = dict(connections.sockets) if connections else {}
        self._handlers: dict[str, Callable[[Message], None]] = {}
        self._early: list[Message] = []  # messages that arrived before their handler was registered
        self._handling = threading.RLock()
        self._texts: dict[int, dict[int, str]] = {}  # number of the `gather` call -> process id -> text
        self._round = 0
        self._changed = threading.Condition()
        self._done: set[int] = set()  # ids of the processes that have left the context
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()  # on process 0: messages to relay
        self._sending = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._leaving = threading.Lock()
        self._before_leaving: Callable[[], None] = lambda: None
        self._end_process = end_process or _end_process
        for number, connection in self._sockets.items():
            self._start(self._read, number, connection)
        if self._sockets and self.is_main:
            self._start(self._relay)

    @property
    def is_main(self) -> bool:
        """Whether this is process 0, the only one that writes files and prints."""
        return self.process_id == 0

    @property
    def num_processes(self) -> int:
        """Number of processes of the run."""
        return len(self._hosts)

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._sockets:
            return
        if error is not None:
            self._fail(error)
        self.send("done")

    def name(self, number: int) -> str:
        """Returns the description of process `number` for messages: 'process 3 (its host name)'."""
        return f"process {number} ({self._hosts[number]})"

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Registers the handler of messages of one kind, including messages that this process sends itself.

        Messages that arrived before are passed to the handler now. Handlers run one at a time; those of later messages
        run in a thread of the channel.
        """
        with self._handling:
            early, self._early = self._early, []
            self._handlers[kind] = handler
            for message in early:
                self._handle(message)

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Registers an action that runs, in any thread, before this process ends because a process failed."""
        self._before_leaving = action

    def send(self, kind: str, **content: Any) -> None:
        """Sends a message to all processes, this one included. Never raises: `_read` detects a lost connection."""
        message = {**content, "kind": kind, "from": self.process_id}
        if not self._sockets:
            self._deliver(message)
        elif self.is_main:
            self._inbox.put(message)
        else:
            self._write(0, encode(message))

    def gather(self, text: str) -> list[str]:
        """All-gather: returns the texts of all processes, ordered by process id. Blocks until all processes call it."""
        self._round += 1
        number = self._round
        self.send("text", round=number, text=text)
        with self._changed:
            while not self._changed.wait_for(lambda: len(self._texts.get(number, ())) == self.num_processes, _PATIENCE):
                received = self._texts.get(number, {})
                missing = next(other for other in range(self.num_processes) if other not in received)
                logger.info("waiting for %s", self.name(missing))
            texts = self._texts.pop(number)
        return [texts[other] for other in range(self.num_processes)]

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Context manager that runs its block on process 0 first, then on all other processes. All must enter it."""
        if not self.is_main:
            self.gather("")
        yield
        if self.is_main:
            self.gather("")

    def end_all(self, status: int, text: str) -> None:
        """Ends all processes with exit status `status` and the last line `text`, without saving a checkpoint."""
        message = {"kind": "leave", "from": self.process_id, "status": status, "text": text}
        if threading.current_thread() in self._threads:  # waiting here would stop the relaying of messages
            for number in self._sockets:
                self._write(number, encode(message))
        elif self._sockets:
            self.send("leave", status=status, text=text)
            threading.Event().wait(_WAIT_TO_LEAVE)  # process 0 relays the message back, which ends this process
        self._leave(status, text)

    def _fail(self, error: BaseException) -> None:
        """Ends all processes because of an exception in this one. SystemExit with status 0 ends no process."""
        if isinstance(error, SystemExit) and error.code in (0, None):
            return
        if isinstance(error, UsageError):
            self.end_all(error.exit_status, str(error))
            return
        threading.Event().wait(_WAIT_FOR_CAUSE)  # if another process died first, its error ends this one
        sys.excepthook(type(error), error, error.__traceback__)
        self.end_all(1, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=self._guard, args=(target, *args), name="channel", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guard(self, target: Callable[..., None], *args: Any) -> None:
        """Runs `target` in this thread; if it raises an exception, ends all processes.

        The run must not continue without the thread: this process would no longer notice stop requests, nor failures of
        other processes.
        """
        try:
            target(*args)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            self.end_all(1, f"{type(error).__name__}: {error}")

    def _read(self, number: int, connection: socket.socket) -> None:
        """Reads the messages of process `number`. At the end of the connection it creates a message of kind 'gone'."""
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    self._receive(json.loads(line))
        except (OSError, ValueError):
            pass
        self._receive({"kind": "gone", "from": number})

    def _receive(self, message: Message) -> None:
        if self.is_main:
            self._inbox.put(message)
        else:
            self._deliver(message)

    def _relay(self) -> None:
        """On process 0: sends each message to all processes, so that all get the messages in the same order."""
        while True:
            message = self._inbox.get()
            line = encode(message)
            for number in self._sockets:
                self._write(number, line)
            self._deliver(message)

    def _write(self, number: int, line: bytes) -> None:
        try:
            with self._sending:
                self._sockets[number].sendall(line)
        except OSError:
            pass  # `_read` detects that the process is gone

    def _deliver(self, message: Message) -> None:
        kind, number = message["kind"], message["from"]
        if kind == "text":
            with self._changed:
                self._texts.setdefault(message["round"], {})[number] = message["text"]
                self._changed.notify_all()
        elif kind == "done":
            self._done.add(number)
        elif kind == "gone":
            if number not in self._done and 0 not in self._done:
                again = "start all processes again to continue from the last checkpoint"
                self._leave(STOPPED, f"{self.name(number)} is gone: {again}")
        elif kind == "leave":
            own = number == self.process_id
            self._leave(message["status"], message["text"] if own else f"{self.name(number)}: {message['text']}")
        else:
            with self._handling:
                self._handle(message)

    def _handle(self, message: Message) -> None:
        handler = self._handlers.get(message["kind"])
        if handler:
            handler(message)
        else:
            self._early.append(message)

    def _leave(self, status: int, text: str) -> None:
        if self._leaving.acquire(blocking=False):  # never released: only the first thread ends the process
            try:
                self._before_leaving()
            finally:
                self._end_process(status, text)
        else:
            threading.Event().wait(_WAIT_TO_LEAVE)  # another thread is ending the process


def _end_process(status: int, text: str) -> NoReturn:
    """Prints `text` as the last line and exits at once, without waiting for other threads."""
    try:
        if status == STOPPED:
            logger.warning("%s", text)
        else:
            print(f"error: {text}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # exit even if the line cannot be written, as on a full disk
        os._exit(status)
