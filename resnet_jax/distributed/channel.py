"""Messages between the processes of a run: every process gets all of them, in the same order, through process 0."""

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

from resnet_jax.distributed import rendezvous
from resnet_jax.distributed.rendezvous import Connections
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)

Message = dict[str, Any]  # JSON values; 'kind' says what it is, 'from' which process sent it

_WAIT_TO_LEAVE = 30.0  # seconds until a process that ends the run leaves even if nobody hears of it
_WAIT_FOR_CAUSE = 5.0  # seconds in which a failing process may learn that another one failed first
_PATIENCE = 60.0  # seconds until it is said for whom a process waits


class Channel:
    """What the processes of a run say to each other. A context manager: a failure inside ends all of them.

    A process that ends without having left the context (killed, crashed, its machine gone) ends the others, too: the
    next collective operation would wait for it for ever.
    """

    def __init__(
        self,
        meeting: Connections | None = None,
        *,
        process_id: int = 0,
        end_process: Callable[[int, str], None] | None = None,
    ):
        """Begins to listen.

        Args:
          meeting: of all processes; None: there is only this one.
          process_id: of this process.
          end_process: ends it with a status and a last line, whatever its other threads do; None: `_end_process`.
        """
        self.process_id = process_id
        self._hosts = meeting.hosts if meeting else ("",)
        self._connections = dict(meeting.connections) if meeting else {}
        self._handlers: dict[str, Callable[[Message], None]] = {}
        self._early: list[Message] = []  # of kinds that nobody handles yet
        self._handling = threading.RLock()
        self._texts: dict[int, dict[int, str]] = {}  # round of `gather` -> process -> text
        self._round = 0
        self._changed = threading.Condition()
        self._done: set[int] = set()  # processes that need no longer be there
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()  # of process 0: what is to be passed on
        self._sending = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._leaving = threading.Lock()
        self._before_leaving: Callable[[], None] = lambda: None
        self._end_process = end_process or _end_process
        for number, connection in self._connections.items():
            self._start(self._read, number, connection)
        if self._connections and self.is_main:
            self._start(self._pass_on)

    @property
    def is_main(self) -> bool:
        """Whether this is process 0, which alone writes and prints."""
        return self.process_id == 0

    @property
    def num_processes(self) -> int:
        """How many processes there are."""
        return len(self._hosts)

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._connections:
            return
        if error is not None:
            self._fail(error)
        self.send("done")

    def name(self, number: int) -> str:
        """'process 3 (its host)'."""
        return f"process {number} ({self._hosts[number]})"

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Calls `handler` with every message of a kind, this process's own included, and with those that have come.

        One call at a time, in a thread of the channel.
        """
        with self._handling:
            early, self._early = self._early, []
            self._handlers[kind] = handler
            for message in early:
                self._handle(message)

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Has something done, in any thread, before another process's end ends this one."""
        self._before_leaving = action

    def send(self, kind: str, **content: Any) -> None:
        """Sends to all processes, this one included. Never raises: that a process is gone is said by its silence."""
        message = {**content, "kind": kind, "from": self.process_id}
        if not self._connections:
            self._deliver(message)
        elif self.is_main:
            self._inbox.put(message)
        else:
            self._write(0, rendezvous.encode(message))

    def gather(self, text: str) -> list[str]:
        """Hands each process's text to all of them, in order of processes. All must call it; it waits for them."""
        self._round += 1
        number = self._round
        self.send("text", round=number, text=text)
        with self._changed:
            while not self._changed.wait_for(lambda: len(self._texts.get(number, ())) == self.num_processes, _PATIENCE):
                here = self._texts.get(number, {})
                missing = next(other for other in range(self.num_processes) if other not in here)
                logger.info("waiting for %s", self.name(missing))
            texts = self._texts.pop(number)
        return [texts[other] for other in range(self.num_processes)]

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Lets process 0 do what is inside before the others; all must come here."""
        if not self.is_main:
            self.gather("")
        yield
        if self.is_main:
            self.gather("")

    def end_all(self, status: int, text: str) -> None:
        """Ends all processes with this status, each with a line; what is not saved is lost."""
        message = {"kind": "leave", "from": self.process_id, "status": status, "text": text}
        if threading.current_thread() in self._threads:  # which brings the messages
            for number in self._connections:
                self._write(number, rendezvous.encode(message))
        elif self._connections:
            self.send("leave", status=status, text=text)
            threading.Event().wait(_WAIT_TO_LEAVE)  # until the message is back, and ends this process
        self._leave(status, text)

    def _fail(self, error: BaseException) -> None:
        """Ends all processes for an error here, unless it is only that another process is gone."""
        if isinstance(error, SystemExit) and error.code in (0, None):
            return
        if isinstance(error, UsageError):
            self.end_all(error.exit_status, str(error))
            return
        threading.Event().wait(_WAIT_FOR_CAUSE)
        sys.excepthook(type(error), error, error.__traceback__)
        self.end_all(1, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=self._guard, args=(target, *args), name="channel", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guard(self, target: Callable[..., None], *args: Any) -> None:
        """Ends the run with this thread: without it no signal, no failure and no end would be heard of."""
        try:
            target(*args)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            self.end_all(1, f"{type(error).__name__}: {error}")

    def _read(self, number: int, connection: socket.socket) -> None:
        """Reads what process `number` sends; its end is a message, too."""
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        self._take({"kind": "gone", "from": number})

    def _take(self, message: Message) -> None:
        if self.is_main:
            self._inbox.put(message)
        else:
            self._deliver(message)

    def _pass_on(self) -> None:
        """Process 0: brings all messages in one order."""
        while True:
            message = self._inbox.get()
            line = rendezvous.encode(message)
            for number in self._connections:
                self._write(number, line)
            self._deliver(message)

    def _write(self, number: int, line: bytes) -> None:
        try:
            with self._sending:
                self._connections[number].sendall(line)
        except OSError:
            pass  # its end is noticed by `_read`

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
                again = "start all processes again to go on from the last checkpoint"
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
        if self._leaving.acquire(blocking=False):  # for good: there is one last line
            try:
                self._before_leaving()
            finally:
                self._end_process(status, text)
        else:
            threading.Event().wait(_WAIT_TO_LEAVE)  # another thread is at it


def _end_process(status: int, text: str) -> NoReturn:
    try:
        if status == STOPPED:
            logger.warning("%s", text)
        else:
            print(f"error: {text}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # even where there is no room for the line
        os._exit(status)
