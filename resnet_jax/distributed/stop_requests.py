"""Makes all processes of a run stop, or save, at the same step when any of them receives a signal."""

import logging
import threading

from resnet_jax.distributed.channel import Channel, Message
from resnet_jax.distributed.signals import STOPPED, RequestKind

logger = logging.getLogger(__name__)


class StopRequests:
    """Agrees among the processes on the point of the program at which a request to stop or save is granted.

    A point is a call of `stop_here`: one per training step, one per evaluation batch. All processes make the same calls
    in the same order, but not at the same time: the devices wait for each other, the programs do not.

    The protocol: a request makes every process broadcast the last point it has passed, and block before the next one.
    When all have answered, the request is granted at one point after the furthest, and the processes continue.
    Answers come from the thread of the channel, so a process answers while its main thread waits for a device.

    Before `begin` there is nothing to save: a request to stop ends all processes at once.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._begun = self._saves = False
        self._passed = 0  # number of points that this process has passed
        self._limit = 0  # while a request is open: the last point that this process may pass
        self._open: RequestKind | None = None  # the request that some processes have not answered yet
        self._answers: list[int] = []  # the points that the other processes and this one have passed
        self._agreed: dict[int, RequestKind] = {}  # point -> the request that is granted there
        self._stop_asked = self._stopped = self._saving = False
        self.connect(Channel())

    def connect(self, channel: Channel) -> None:
        """Uses this channel from here on; until then, this process decides alone."""
        self._channel = channel
        channel.on("request", self._open_request)
        channel.on("point", self._take_point)

    def begin(self, *, saves: bool = True) -> None:
        """From here on requests are granted at `stop_here`.

        Args:
          saves: whether the program calls `save_here`; if not, requests to save are ignored.
        """
        self._begun, self._saves = True, saves

    def ask(self, request: RequestKind, signal_name: str) -> None:
        """Takes a request made to this process; may be called from any thread."""
        if request == "save" and not self._saves:
            logger.info("%s ignored: an evaluation has no training state to save", signal_name)
            return
        reply = {"stop": "stopping; a second signal stops at once", "save": "saving"}[request]
        logger.info("%s: %s", signal_name, reply)
        if request == "stop":
            self._stop_asked = True
            if not self._begun:
                self._end_all()
        self._channel.send("request", request=request)

    def stop_asked(self) -> bool:
        """Whether a request to stop has reached this process; the others may not know of it yet."""
        return self._stop_asked

    def stop_here(self) -> bool:
        """Whether to stop at this point. Every process must make the same calls; all get the same answers."""
        with self._changed:
            if self._stopped:
                return True
            point = self._passed + 1
            self._changed.wait_for(lambda: self._open is None or point <= self._limit)
            self._passed = point
            granted = self._agreed.pop(point, None)
            self._stopped = granted == "stop"
            self._saving |= granted == "save"
            return self._stopped

    def save_here(self) -> bool:
        """Whether a request to save was granted at a point since the last call. The same on all processes."""
        saving, self._saving = self._saving, False
        return saving

    def _open_request(self, message: Message) -> None:
        """Handles a request. Messages reach all processes in one order, so all agree on which request is open."""
        request: RequestKind = message["request"]
        if request == "stop":
            self._stop_asked = True
            if not self._begun:
                self._end_all()
        with self._changed:
            if self._open:
                self._open = "stop" if "stop" in (self._open, request) else "save"
                return
            self._open, self._answers = request, []
            self._limit = max([self._passed, *self._agreed])
        self._channel.send("point", point=self._limit)

    def _take_point(self, message: Message) -> None:
        """Handles the answer of a process: the last point it passes. After the last answer the request is granted."""
        with self._changed:
            self._answers.append(message["point"])
            if self._open and len(self._answers) == self._channel.num_processes:
                self._agreed[max(self._answers) + 1] = self._open
                self._open = None
                self._changed.notify_all()

    def _end_all(self) -> None:
        self._channel.end_all(STOPPED, "Stopped before the first step of this start: run the same command again.")
