"""Messages between the processes of a run. Process 0 relays them, so that all processes get them in the same order."""

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn

from resnet_jax.distributed.lines import encode
from resnet_jax.distributed.link import Link, Links
from resnet_jax.distributed.messages import Fields, ForeignMessageError, Message, check_fields, read_message
from resnet_jax.distributed.rendezvous import Connections
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.errors import ProcessLostError, UsageError
from resnet_jax.text import printable

logger = logging.getLogger(__name__)

STALL_TIMEOUT = 60.0  # seconds without a sign of life after which a process counts as stopped; JAX waits 100 s
_WAIT_TO_LEAVE = 30.0  # most seconds that a thread waits for another thread to end this process
_WAIT_FOR_CAUSE = 5.0  # seconds that a failing process waits to learn whether another process failed first
_PATIENCE = 60.0  # seconds between log lines about the process that `gather` waits for
_WAIT_FOR_RELAY = 5.0  # most seconds that process 0 waits, before it exits, until its last message is relayed
_AGAIN = "start all processes again to continue from the last checkpoint"  # the cure if a process is lost
_MOST_EARLY = 10_000  # most messages that are kept because their handler is not registered yet


class Channel:
    """Connects the processes of a run. A context manager: an exception inside it ends all processes.

    If a process dies inside the context (killed, crashed, host lost), or is stopped for `stall_timeout` seconds, all
    other processes are ended too: their next collective operation would wait forever for that process.
    """

    def __init__(
        self,
        connections: Connections | None = None,
        *,
        process_id: int = 0,
        stall_timeout: float = STALL_TIMEOUT,
        end_process: Callable[[int, str], None] | None = None,
    ):
        """Starts the threads that read and relay messages.

        Args:
          connections: the sockets to the other processes; None: the run has one process.
          process_id: number of this process, 0 to n - 1.
          stall_timeout: seconds without a sign of life after which another process counts as stopped.
          end_process: function (exit status, last line to print) that ends this process while other threads still run;
            None: `_end_process`. Tests pass a stub.
        """
        self.process_id = process_id
        self._hosts = connections.hosts if connections else ("",)
        self._links = Links(connections.sockets if connections else {}, stall_timeout=stall_timeout)
        self.stall_timeout = stall_timeout
        self._handlers: dict[str, tuple[Callable[[Message], None], Fields]] = {}
        self._early: list[Message] = []  # messages that arrived before their handler was registered
        self._handling = threading.RLock()
        self._texts: dict[int, dict[int, str]] = {}  # number of the `gather` call -> process id -> string
        self._round = 0
        self._changed = threading.Condition()
        self._done: set[int] = set()  # ids of the processes that have left the context
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()  # on process 0: messages to relay
        self._reported = False  # whether an invalid message has been reported: only the first one is
        self._threads: list[threading.Thread] = []
        self._leaving = threading.Lock()
        self._before_leaving: Callable[[], None] = lambda: None
        self._end_process = end_process or _end_process
        for number, link in self._links.items():
            self._start(self._read, number, link)
            self._start(link.write_lines)
        if self._links:
            self._start(self._watch)
            if self.is_main:
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
        if not self._links:
            return
        if error is not None:
            self._fail(error)
        self.send("done")
        # When process 0 gets its own message 'done' back, `_relay` has queued it for all other processes.
        with self._changed:
            self._changed.wait_for(lambda: not self.is_main or self.process_id in self._done, _WAIT_FOR_RELAY)
        self._links.flush()

    def name(self, number: int) -> str:
        """Returns the description of process `number` for messages: 'process 3 (its host name)'."""
        return f"process {number} ({self._hosts[number]})"

    def on(self, kind: str, handler: Callable[[Message], None], **fields: Callable[[Any], bool]) -> None:
        """Registers the handler of messages of one kind, including messages that this process sends itself.

        Messages of this kind that arrived before this call are passed to the handler in this call, later messages in a
        thread of the channel. Handlers run one at a time.

        Args:
          kind: the kind of the messages.
          handler: called with each message whose fields are valid; other messages are ignored.
          fields: for each field of the messages, a function that returns whether a value is valid.
        """
        with self._handling:
            early, self._early = self._early, []
            self._handlers[kind] = handler, fields
            for message in early:
                self._handle(message)

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Registers an action that runs, in any thread, before the channel ends this process."""
        self._before_leaving = action

    def send(self, kind: str, **content: Any) -> None:
        """Sends a message to all processes, this one included. Never raises: `_read` detects a lost connection."""
        message = {**content, "kind": kind, "from": self.process_id}
        if not self._links:
            self._deliver(message)
        elif self.is_main:
            self._inbox.put(message)
        else:
            self._links.write(encode(message))  # to process 0, which relays it

    def gather(self, text: str) -> list[str]:
        """All-gather of strings: when all processes have called it, returns their `text`s in the order of process ids.

        Raises ProcessLostError if a process has left the context without calling it.
        """
        self._round += 1
        number = self._round
        self.send("text", round=number, text=text)
        with self._changed:
            while missing := set(range(self.num_processes)) - self._texts.get(number, {}).keys():
                if left := self._done & missing:
                    raise ProcessLostError(f"{self.name(min(left))} has left the run early: {_AGAIN}")
                if not self._changed.wait(_PATIENCE):
                    logger.info("waiting for %s", self.name(min(missing)))
            texts = self._texts.pop(number)
        return [texts[other] for other in range(self.num_processes)]

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Context manager that runs its block on process 0 first, then on the others. Every process must enter it."""
        if not self.is_main:
            self.gather("")
        yield
        if self.is_main:
            self.gather("")

    def end_all(self, status: int, text: str) -> None:
        """Ends all processes with exit status `status` and the last line `text`, without saving a checkpoint."""
        message = {"kind": "leave", "from": self.process_id, "status": status, "text": text}
        if threading.current_thread() in self._threads:  # waiting here would stop the relaying of messages
            self._links.write(encode(message))
        elif self._links:
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
        threading.Event().wait(_WAIT_FOR_CAUSE)  # if another process failed first, its error ends this process
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

    def _read(self, number: int, link: Link) -> None:
        """Reads the messages of process `number`. At the end of the connection it creates a message of kind 'gone'."""
        for line in link.read_lines():
            try:
                sender = number if self.is_main else None  # None: any sender, because process 0 relays messages
                message = read_message(line, num_processes=self.num_processes, sender=sender)
            except ForeignMessageError as error:
                self._report(number, error)
            else:
                self._receive(message)
        self._receive({"kind": "gone", "from": number, "stalled": False})

    def _watch(self) -> None:
        """Creates a message of kind 'gone' for each process that gives no sign of life for the stall timeout."""
        for number in self._links.watch(threading.Event()):
            self._receive({"kind": "gone", "from": number, "stalled": True})

    def _report(self, number: int, error: ForeignMessageError) -> None:
        if not self._reported:
            self._reported = True
            logger.warning(
                "a message from %s is ignored (%s), others like it are not reported: start all processes with the same "
                "version of this program",
                self.name(number),
                printable(str(error)),
            )

    def _receive(self, message: Message) -> None:
        if self.is_main:
            self._inbox.put(message)
        else:
            self._deliver(message)

    def _relay(self) -> None:
        """On process 0: sends each message to all processes, so that all get the messages in the same order."""
        while True:
            message = self._inbox.get()
            self._links.write(encode(message))
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        kind, number = message["kind"], message["from"]
        if kind == "text":
            with self._changed:
                self._texts.setdefault(message["round"], {})[number] = message["text"]
                self._changed.notify_all()
        elif kind == "done":
            with self._changed:
                self._done.add(number)
                self._changed.notify_all()
            self._handle(message)
        elif kind == "gone":
            if number not in self._done and 0 not in self._done:
                why = f", it stood still for {self.stall_timeout:g} s (--stall_timeout)" if message["stalled"] else ""
                self._leave(STOPPED, f"{self.name(number)} is gone{why}: {_AGAIN}")
        elif kind == "leave":
            own = number == self.process_id
            text = message["text"] if own else f"{self.name(number)}: {printable(message['text'])}"
            self._leave(message["status"], text)
        else:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        with self._handling:
            if message["kind"] not in self._handlers:
                self._early += [message] if len(self._early) < _MOST_EARLY else []
                return
            handler, fields = self._handlers[message["kind"]]
            try:
                check_fields(message, fields)
            except ForeignMessageError as error:
                self._report(message["from"], error)
            else:
                handler(message)

    def _leave(self, status: int, text: str) -> None:
        if self._leaving.acquire(blocking=False):  # never released: only the first thread ends the process
            try:
                self._before_leaving()
                self._links.flush()
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
            print(f"error: {printable(text)}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # exit even if the line cannot be written, as on a full disk
        os._exit(status)
