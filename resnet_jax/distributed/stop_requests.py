"""What signals ask for, agreed between the processes of a run: all stop, or save, at the same point."""

import logging
import threading

from resnet_jax.distributed.channel import Channel, Message
from resnet_jax.distributed.signals import STOPPED, Request

logger = logging.getLogger(__name__)


class StopRequests:
    """Decides at which point of the program a request is met.

    A point is a call of `stop_here`. All processes make the same calls in the same order; some are a few ahead of the
    others, for devices wait for each other and programs do not. A request makes every process say which point it has
    passed, and hold before the next; the request is met one point after the furthest. To answer takes no main thread,
    so that no process waits for one that waits for it.

    Before `begin` there is nothing to be saved: a request to stop ends all processes at once.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._begun = self._saves = False
        self._passed = 0  # points
        self._limit = 0  # the point after which to hold while a request is open
        self._open: Request | None = None  # not every process has said yet which point it has passed
        self._answers: list[int] = []
        self._agreed: dict[int, Request] = {}  # by the point at which it is met
        self._stop_asked = self._stopped = self._saving = False
        self.connect(Channel())

    def connect(self, channel: Channel) -> None:
        """Agrees with the processes of this channel from here on."""
        self._channel = channel
        channel.on("request", self._open_request)
        channel.on("point", self._take_point)

    def begin(self, *, saves: bool = True) -> None:
        """Requests wait for `stop_here` from here on; those to save do nothing unless the program `saves`."""
        self._begun, self._saves = True, saves

    def ask(self, request: Request, signal_name: str) -> None:
        """Takes a request to this process, in any thread."""
        if request == "save" and not self._saves:
            logger.info("%s: there is nothing to save", signal_name)
            return
        what = {"stop": "stopping; a second signal stops at once", "save": "saving"}[request]
        logger.info("%s: %s", signal_name, what)
        if request == "stop":
            self._stop_asked = True
            if not self._begun:
                self._end_all()
        self._channel.send("request", request=request)

    def stop_asked(self) -> bool:
        """Whether any process was asked to stop, be it agreed or not."""
        return self._stop_asked

    def stop_here(self) -> bool:
        """Whether to stop at this point: all processes get the same answer, and must ask at the same points."""
        with self._changed:
            if self._stopped:
                return True
            point = self._passed + 1
            self._changed.wait_for(lambda: self._open is None or point <= self._limit)
            self._passed = point
            met = self._agreed.pop(point, None)
            self._stopped = met == "stop"
            self._saving |= met == "save"
            return self._stopped

    def save_here(self) -> bool:
        """Whether a request to save was met at one of the last points; says so once."""
        saving, self._saving = self._saving, False
        return saving

    def _open_request(self, message: Message) -> None:
        """A process asks; messages come in the same order to all, so all know alike what is open."""
        request: Request = message["request"]
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
        """A process has passed a point, and holds there; once all have said so, it is known where to meet."""
        with self._changed:
            self._answers.append(message["point"])
            if self._open and len(self._answers) == self._channel.num_processes:
                self._agreed[max(self._answers) + 1] = self._open
                self._open = None
                self._changed.notify_all()

    def _end_all(self) -> None:
        self._channel.end_all(STOPPED, "Stopped before the first step of this start: run the same command again.")
