"""A lease: an object in a bucket that keeps a second run out, as a lock on a file does on a disk.

Its holder renews it every `RENEWED_EVERY` seconds. If it has not been renewed for `EXPIRES_AFTER` seconds, which the
process that waits for it measures itself so that the clocks of the machines need not agree, the holder is dead. Each
change depends on the version of the object, so that of two processes only one can take it.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.nested import has_shape
from resnet_jax.storage.objects import ABSENT, Bucket, BucketError, Read
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

NAME = ".lease"
RENEWED_EVERY = 10.0  # seconds
EXPIRES_AFTER = 45.0  # seconds
_POLLED_EVERY = 1.0  # seconds
_CERTAINLY_DEAD = 600.0  # seconds by the clocks of two machines, which differ by less
_SHAPE = {"holder": str, "who": str, "mirror": str, "released": bool, "renewed": (int, float)}
_NOBODY = {"holder": "", "who": "", "mirror": "", "released": True, "renewed": 0.0}


class LostError(UsageError):
    """Another process has taken the lease."""


def last_mirror(bucket: Bucket) -> str:
    """Returns the id of the mirror from which the bucket was last written; '' if it is unknown. Raises BucketError."""
    return str(_content(bucket.read(NAME))["mirror"])


class Lease:
    """The right to write below an address, renewed in a thread until `release`."""

    def __init__(self, bucket: Bucket, *, mirror: str):
        """Makes a lease that is not yet held.

        Args:
          bucket: where the object is.
          mirror: id of the mirror on this machine. The caller has locked it, so that an earlier process that held the
            lease for the same mirror has ended.
        """
        self._bucket, self._mirror = bucket, mirror
        self._holder, self._version = secrets.token_hex(8), ABSENT
        self._is_of_mirror = False  # whether the object names the mirror
        self._lost, self._stopped = threading.Event(), threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self) -> bool:
        """Takes the lease, and waits for that if its last holder has not released it.

        Returns:
          Whether the same mirror has held it last, so that nobody else has written to the bucket since.

        Raises:
          UsageError: its holder renews it, or the bucket cannot be used.
        """
        watched, since = None, 0.0
        while True:
            found = self._bucket.read(NAME)
            content = _content(found)
            if watched is None or self._is_free(content):
                watched, since = found.version, time.monotonic()
                if not self._is_free(content):
                    what = "for the lease of %s (%s), which ends %.0f s after its last renewal"
                    logger.info(labelled("waiting", what), self._bucket.address, content["who"], EXPIRES_AFTER)
            elif found.version != watched:
                raise UsageError(
                    f"another process is at work in {self._bucket.address} ({content['who']}): wait for it, or choose "
                    "another directory with --workdir=DIR"
                )
            if self._is_free(content) or time.monotonic() - since > EXPIRES_AFTER:
                self._is_of_mirror = content["mirror"] == self._mirror
                self._version = found.version
                if self._put(released=False):
                    return self._is_of_mirror
                watched = None  # another process was faster
                if self._bucket.read(NAME).state == "missing":  # what TensorStore reports of a bucket in S3 that is not
                    raise BucketError(
                        f"{self._bucket.address} cannot be written: create the bucket, or give this machine access"
                    )
            time.sleep(_POLLED_EVERY)

    def keep(self, lost: Callable[[], None]) -> None:
        """Names the mirror in the object, and renews the lease in a thread; calls `lost` if another process takes it.

        To be called when the mirror has been restored. Before that the object names no mirror, so that a process that
        is killed while it restores does not leave a mirror that is taken for the newest state.
        """
        self._is_of_mirror = True
        self._renew()
        self._thread = threading.Thread(target=self._renew_until_stopped, args=[lost], name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LostError if another process holds the lease, and BucketError if that cannot be found out."""
        if self._lost.is_set() or _content(self._bucket.read(NAME))["holder"] != self._holder:
            self._lost.set()
            raise LostError(
                f"another process has taken over {self._bucket.address}, because this one could not renew its lease "
                f"for {EXPIRES_AFTER:.0f} s: let the other one continue, or stop it and run the same command again"
            )

    def release(self, *, remove: bool = False) -> None:
        """Gives the lease back; the object stays, unless `remove`, to name the mirror that has written last."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.check()
            if remove:
                self._bucket.delete([NAME])
            else:
                self._put(released=True)
        except (BucketError, LostError) as error:
            logger.warning("the lease was not released: %s", error)

    def _is_free(self, content: dict[str, Any]) -> bool:
        """Whether the last holder has released the lease, was on this mirror, or is certainly dead."""
        is_old = abs(time.time() - content["renewed"]) > _CERTAINLY_DEAD
        return content["released"] or content["mirror"] == self._mirror or is_old

    def _put(self, *, released: bool) -> bool:
        """Writes the object; returns False if another process has changed it."""
        content = {
            "holder": self._holder,
            "who": f"process {os.getpid()} on {socket.gethostname()}",
            "mirror": self._mirror if self._is_of_mirror else "",
            "released": released,
            "renewed": time.time(),
        }
        with self._writing:
            version = self._bucket.write(NAME, json.dumps(content).encode(), if_version=self._version)
            found = self._bucket.read(NAME)  # if an answer was lost, a write that succeeded is reported as refused
            mine = _content(found)["holder"] == self._holder
            if mine:
                self._version = found.version
            return mine and (version is not None or _content(found) == content)

    def _renew(self) -> None:
        if not self._put(released=False):
            self.check()

    def _renew_until_stopped(self, lost: Callable[[], None]) -> None:
        while not self._stopped.wait(RENEWED_EVERY):
            try:
                self._renew()
            except LostError as error:
                logger.warning("%s", error)
                lost()
                return
            except BucketError:  # it is tried again; the lease lasts longer than this
                continue


def _content(found: Read) -> dict[str, Any]:
    """Returns the values in the object; those of a lease that nobody holds if it is missing or damaged."""
    try:
        content = json.loads(found.content)
    except ValueError:
        return _NOBODY
    return content if has_shape(content, _SHAPE) else _NOBODY
