"""Uploads a mirror, the local copy of a work directory, during a run (in a thread) and at the end of the run."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from resnet_jax.errors import UsageError
from resnet_jax.storage.lease import LostError
from resnet_jax.storage.objects import BucketError

logger = logging.getLogger(__name__)

_LOOKED_EVERY = 1.0  # seconds between two checks for a new checkpoint
_UPLOADED_EVERY = 60.0  # largest number of seconds between two uploads
_LAST_TRIES = 60.0  # seconds for which the upload at the end of a run is retried after errors


class Uploads:
    """Uploads the local copy of a work directory whenever there is a new checkpoint, and at least every minute."""

    def __init__(
        self,
        upload: Callable[[], None],
        checkpoints: Callable[[], list[int]],
        has_begun: Callable[[], bool],
        *,
        address: str,
        mirror: Path,
    ):
        """Stores the arguments. The thread runs inside the `with` block of this object, which is a context manager.

        Args:
          upload: uploads what has changed; raises BucketError or OSError.
          checkpoints: returns the steps of the checkpoints in the mirror.
          has_begun: returns whether there are results to upload.
          address: address of the work directory, for messages.
          mirror: path of its mirror, for messages.
        """
        self._upload, self._checkpoints, self._has_begun = upload, checkpoints, has_begun
        self._address, self._mirror = address, mirror
        self._uploading, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._upload_until_stopped, name="uploads", daemon=True)
        self._has_failed = False  # whether the last upload failed

    def __enter__(self) -> "Uploads":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        if kind is None or self._has_begun():
            try:
                self.finish()
            except UsageError as problem:
                if kind is None:
                    raise
                logger.warning("%s", problem)  # not raised: it would hide the error that ends the run

    def finish(self) -> None:
        """Uploads what has changed; after errors, tries again for up to a minute.

        Raises:
          UsageError: the bucket still cannot be written, or another process has taken the lease.
        """
        end = time.monotonic() + _LAST_TRIES
        while not self._try():
            if time.monotonic() > end:
                raise UsageError(
                    f"{self._address} could not be written; everything is saved in {self._mirror}: run the same "
                    "command again on this machine to upload it"
                )
            time.sleep(_LOOKED_EVERY)

    def _upload_until_stopped(self) -> None:
        before: list[int] = []
        last = time.monotonic()
        while not self._stopped.wait(_LOOKED_EVERY):
            now = self._checkpoints()
            if self._has_begun() and (now != before or time.monotonic() - last > _UPLOADED_EVERY):
                try:
                    if self._try():
                        before = now
                except LostError:
                    return  # the thread that renews the lease stops the run
                last = time.monotonic()

    def _try(self) -> bool:
        """Uploads; returns False if an error prevents it. Of several errors in a row, only the first is logged."""
        try:
            with self._uploading:
                self._upload()
        except (BucketError, OSError) as error:
            if not self._has_failed:
                logger.warning("not uploaded: %s; the upload is tried again, and training continues", error)
            self._has_failed = True
            return False
        if self._has_failed:
            logger.warning("uploading to %s succeeds again", self._address)
        self._has_failed = False
        return True
