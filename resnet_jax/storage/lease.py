"""A lease: an object in a bucket that prevents two runs from using the same address, as a file lock does on a disk.

The process that holds the lease renews it every `RENEWED_EVERY` seconds. Another process may take the lease if it has
seen no renewal for `EXPIRES_AFTER` seconds. It measures these seconds on its own clock, so that the clocks of the
machines need not agree. A write succeeds only if the object still has the version that the process has read, so that
only one process can take the lease.
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
RENEWED_EVERY = 10.0  # seconds between renewals
EXPIRES_AFTER = 45.0  # seconds without a renewal after which another process may take the lease
_POLLED_EVERY = 1.0  # seconds between two reads of the object while a process waits for the lease
_CERTAINLY_DEAD = 600.0  # seconds after the last renewal when the lease is free at once; clocks must differ by less
_SHAPE = {"holder": str, "who": str, "mirror": str, "released": bool, "renewed": (int, float)}
_NOBODY = {"holder": "", "who": "", "mirror": "", "released": True, "renewed": 0.0}


class LostError(UsageError):
    """Another process has taken the lease."""


def last_mirror(bucket: Bucket) -> str:
    """Returns the ID of the mirror that was last uploaded to the bucket; '' if it is unknown. Raises BucketError."""
    return str(_content(bucket.read(NAME))["mirror"])


class Lease:
    """The exclusive right to write objects below an address. A thread renews it until `release` is called."""

    def __init__(self, bucket: Bucket, *, mirror: str):
        """Stores the arguments; `take` takes the lease.

        Args:
          bucket: the objects below the address.
          mirror: ID of the mirror on this machine. The caller must have locked the mirror: then an earlier process that
            held the lease with the same mirror has certainly ended.
        """
        self._bucket, self._mirror = bucket, mirror
        self._holder, self._version = secrets.token_hex(8), ABSENT
        self._is_of_mirror = False  # whether the object is written with the ID of this mirror
        self._lost, self._stopped = threading.Event(), threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self) -> bool:
        """Takes the lease; if its last holder has not released it, first waits until it expires.

        Returns:
          Whether the last holder used the same mirror; if so, no other machine has written to the bucket since.

        Raises:
          UsageError: another process holds the lease and renews it, or the bucket cannot be used.
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
                watched = None  # another process was faster: wait for its lease
                if self._bucket.read(NAME).state == "missing":  # on S3, TensorStore reports this if there is no bucket
                    raise BucketError(
                        f"{self._bucket.address} cannot be written: create the bucket, or give this machine access"
                    )
            time.sleep(_POLLED_EVERY)

    def keep(self, lost: Callable[[], None]) -> None:
        """Writes the ID of the mirror to the object, and starts the thread that renews the lease.

        Call this when the mirror has been restored. If the process is killed before, the object contains no ID, and the
        incompletely restored mirror is not mistaken for the newest state.

        Args:
          lost: called if another process takes the lease.
        """
        self._is_of_mirror = True
        self._renew()
        self._thread = threading.Thread(target=self._renew_until_stopped, args=[lost], name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LostError if another process holds the lease, and BucketError if the object cannot be read."""
        if self._lost.is_set() or _content(self._bucket.read(NAME))["holder"] != self._holder:
            self._lost.set()
            raise LostError(
                f"another process has taken over {self._bucket.address}, because this one could not renew its lease "
                f"for {EXPIRES_AFTER:.0f} s: let the other one continue, or stop it and run the same command again"
            )

    def release(self, *, remove: bool = False) -> None:
        """Releases the lease. The object is kept, since it records which mirror was uploaded last, unless `remove`."""
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
            logger.warning("the lease of %s was not released: %s", self._bucket.address, error)

    def _is_free(self, content: dict[str, Any]) -> bool:
        """Whether the lease can be taken at once: it was released, or its holder used this mirror or is surely dead."""
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
            # Read the object back: if the reply to a successful write is lost, TensorStore writes again and reports a
            # failure, because the object has another version.
            found = self._bucket.read(NAME)
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
            except BucketError:  # tried again after `RENEWED_EVERY`, before the lease expires
                continue


def _content(found: Read) -> dict[str, Any]:
    """Returns the values in the object; `_NOBODY` (nobody holds the lease) if the object is missing or damaged."""
    try:
        content = json.loads(found.content)
    except ValueError:
        return _NOBODY
    return content if has_shape(content, _SHAPE) else _NOBODY
