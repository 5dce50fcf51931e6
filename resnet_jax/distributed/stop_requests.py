"""Makes all processes of a run stop, or save, at the same step when one of them receives a signal."""

import logging
import threading

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.lines import is_number
from resnet_jax.distributed.messages import Message
from resnet_jax.distributed.signals import STOPPED, RequestKind

logger = logging.getLogger(__name__)


class StopRequests:
    """Agrees among all processes on the step or evaluation batch at which they follow a request to stop or save.

    The program calls `stop_here` once per training step and once per evaluation batch. Below, "point n" means the n-th
    of these calls. All processes make the same calls in the same order, but one process can be several calls ahead.

    The protocol: on a request, every process broadcasts the number of the last point that it has passed, and blocks
    before the next one. When all have answered, the request is followed at point max(answers) + 1, which no process has
    passed yet, and the processes continue. The answer is sent by the thread of the channel, so that a process answers
    while its main thread waits for a device.

    Before `begin` is called, the run has nothing new to save: a request to stop ends all processes at once.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._begun = self._saves = False
        self._passed = 0  # number of `stop_here` calls that this process has returned from
        self._limit = 0  # while a request is open: number of the last `stop_here` call that may return
        self._open: RequestKind | None = None  # the request that some processes have not answered yet, if any
        self._answers: dict[int, int] = {}  # process id -> its `_limit`, of each process that has answered
        self._left: set[int] = set()  # ids of the processes that have left the run
        self._agreed: dict[int, RequestKind] = {}  # number of a `stop_here` call -> the request that takes effect there
        self._stop_asked = self._stopped = self._saving = False
        self.connect(Channel())

    def connect(self, channel: Channel) -> None:
        """Sends and receives requests through `channel` from now on. Before the call, this process decides alone."""
        self._channel = channel
        channel.on("done", self._take_done)
        channel.on("request", self._open_request, request=lambda value: value in ("stop", "save"))
        channel.on("point", self._take_point, point=is_number)

    @property
    def stall_timeout(self) -> float:
        """Seconds without a sign of life after which a process of the run, or a data worker, counts as stopped."""
        return self._channel.stall_timeout

    def begin(self, *, saves: bool = True) -> None:
        """Declares that the steps begin: from now on a request takes effect at a call of `stop_here`.

        Args:
          saves: whether the program calls `save_here`. False: requests to save are ignored.
        """
        self._begun, self._saves = True, saves

    def ask(self, request: RequestKind, signal_name: str) -> None:
        """Sends a request, made to this process by a signal, to all processes. May be called from any thread."""
        if request == "save" and not self._saves:
            logger.info("%s ignored: an evaluation has no training state to save", signal_name)
            return
        reply = {"stop": "stopping; a second SIGTERM or SIGINT ends the process without saving", "save": "saving"}[
            request
        ]
        logger.info("%s: %s", signal_name, reply)
        if request == "stop":
            self._stop_asked = True
            if not self._begun:
                self._end_all()
        self._channel.send("request", request=request)

    def stop_because(self, problem: str) -> None:
        """Makes all processes save and stop because of a problem of this process that a new start may solve.

        Args:
          problem: what is wrong and what the user can do, in one line.
        """
        logger.warning("%s; all processes save and stop", problem)
        self._stop_asked = True
        if not self._begun:
            self._end_all()
        self._channel.send("request", request="stop")

    def stop_asked(self) -> bool:
        """Whether a request to stop has reached this process; other processes may not have received it yet."""
        return self._stop_asked

    def stop_here(self) -> bool:
        """Whether to stop now. Every process must make the same calls of `stop_here`; all get the same results."""
        with self._changed:
            if self._stopped:
                return True
            point = self._passed + 1
            self._changed.wait_for(lambda: self._open is None or point <= self._limit)
            self._passed = point
            request = self._agreed.pop(point, None)
            self._stopped = request == "stop"
            self._saving |= request == "save"
            return self._stopped

    def save_here(self) -> bool:
        """Whether to save now: a request to save took effect since the last call. All processes get the same result."""
        saving, self._saving = self._saving, False
        return saving

    def _open_request(self, message: Message) -> None:
        """Handles a request: answers with the number of the last `stop_here` call that returns before the agreement.

        All processes get the messages in the same order, so the same request is open on all of them.
        """
        request: RequestKind = message["request"]
        if request == "stop":
            self._stop_asked = True
            if not self._begun:
                self._end_all()
        with self._changed:
            if self._open:
                self._open = "stop" if "stop" in (self._open, request) else "save"
                return
            self._open, self._answers = request, {}
            self._limit = max([self._passed, *self._agreed])
        self._channel.send("point", point=self._limit)

    def _take_point(self, message: Message) -> None:
        """Handles the answer of a process: the number of its last `stop_here` call that returns before the agreement.

        When all have answered, all processes follow the request at the call whose number is the largest answer plus 1.
        """
        with self._changed:
            self._answers[message["from"]] = message["point"]
            self._agree()

    def _take_done(self, message: Message) -> None:
        """Handles the message that a process has left the run: from now on no request waits for its answer."""
        with self._changed:
            self._left.add(message["from"])
            self._agree()

    def _agree(self) -> None:
        """Closes the open request if every process has answered it, or has left."""
        if self._open and len(self._left | self._answers.keys()) == self._channel.num_processes:
            self._agreed[max(self._answers.values(), default=self._limit) + 1] = self._open
            self._open = None
            self._changed.notify_all()

    def _end_all(self) -> None:
        self._channel.end_all(STOPPED, "Stopped before the first step of this start: run the same command again.")
