"""The mirror of a work directory in a bucket: a copy on the disk of this machine."""

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.files import locked
from resnet_jax.local_paths import is_bucket
from resnet_jax.storage import lease
from resnet_jax.storage.index import Index
from resnet_jax.storage.layout import steps
from resnet_jax.storage.lease import Lease
from resnet_jax.storage.objects import Bucket, normalized
from resnet_jax.storage.restore import Restoration
from resnet_jax.storage.upload import Upload
from resnet_jax.storage.uploads import Uploads
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_CONFIG = "config.json"  # a file that the work directory of every run contains
_OTHERS = 600.0  # largest number of seconds to wait while another process on this machine restores the same mirror


class Mirror:
    """A work directory in a bucket, and its copy on this machine."""

    def __init__(self, address: str, *, bucket: Bucket | None = None):
        """Determines the directory of the mirror; reads and writes nothing yet.

        Args:
          address: address of the work directory, such as gs://bucket/run.
          bucket: gives access to the objects; None: a new `Bucket` at the address.

        Raises:
          UsageError: `address` is not the address of a directory in a bucket.
        """
        self.address = normalized(address, name="--workdir")
        self._bucket = bucket or Bucket(self.address)
        self._uploads: Uploads | None = None  # set during `session`
        self._root = _cache() / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self.path = self._root / "mirror" / self.address.rpartition("/")[2]

    def pull(self) -> None:
        """Makes the mirror equal to the bucket. Does nothing while a run on this machine uses the mirror.

        Raises:
          UsageError: the bucket cannot be read, or the mirror cannot be written.
        """
        with self._locked():
            if not self._is_in_use():
                self._restore(is_newest=False, asks_lease=True)

    @contextlib.contextmanager
    def session(self, *, has_begun: Callable[[], bool], lost: Callable[[], None]) -> Iterator[None]:
        """Holds the lease and restores the mirror; uploads what the `with` block writes, while it runs and at its end.

        Args:
          has_begun: returns whether there are results to keep. Until then nothing is uploaded if the block raises.
          lost: called, in another thread, if another process takes the lease.

        Raises:
          UsageError: another process is at work in the bucket, or the bucket cannot be used.
        """
        held = Lease(self._bucket, mirror=self._id())
        is_newest = held.take()
        was_empty = False
        try:
            with self._locked():
                index = self._restore(is_newest=is_newest)
            was_empty = not index.files
            held.keep(lost)
            logger.info(labelled("bucket", f"{self.address}, mirrored in {self.path}"))
            upload = Upload(self.path, index, self._bucket, outgoing=self._root / "outgoing", check=held.check)
            stored = functools.partial(steps, self.path)
            with Uploads(upload.run, stored, has_begun, address=self.address, mirror=self.path) as uploads:
                self._uploads = uploads
                yield
        finally:
            self._uploads = None
            held.release(remove=was_empty and not has_begun())

    def upload_now(self) -> None:
        """Uploads changed files inside of `session`, else does nothing. Ignores UsageError. Any thread may call it."""
        if self._uploads is not None:
            with contextlib.suppress(UsageError):
                self._uploads.finish()

    def upload_outputs(self) -> None:
        """Uploads the files that modes such as --mode=export write to the work directory without locking it.

        Does nothing while a run on this machine uses the mirror, because that run uploads these files too.

        Raises:
          UsageError: the bucket cannot be written.
        """
        with self._locked(), _disk_errors(self.path):
            if not self._is_in_use():
                Upload(self.path, Index(self.path), self._bucket, outgoing=self._root / "outgoing").run_outputs()

    def _id(self) -> str:
        """Returns the ID of the mirror. Writes the index, because the ID is new if there was no index."""
        with self._locked(), _disk_errors(self.path):
            index = Index(self.path)
            index.save()
            return index.id

    def _restore(self, *, is_newest: bool, asks_lease: bool = False) -> Index:
        with _disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            index = Index(self.path)
            if asks_lease:
                is_newest = lease.last_mirror(self._bucket) == index.id
            # If the user has deleted the files of the mirror, they are restored, and not deleted in the bucket.
            was_emptied = _CONFIG in index.files and not (self.path / _CONFIG).exists()
            Restoration(self.path, index, self._bucket, is_newest=is_newest and not was_emptied).run()
            return index

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        cure = "set XDG_CACHE_HOME to a directory that can be written"
        what = f"{self._root}, the mirror of {self.address},"
        return locked(self._root / "lock", what=what, cure=cure, patience=_OTHERS)

    def _is_in_use(self) -> bool:
        """Whether a run on this machine holds the lock of the work directory."""
        try:
            with (self.path / ".lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


@functools.cache
def restored(address: str) -> Path:
    """Returns the path of the mirror of a work directory in a bucket.

    The first call for an address in a process makes the mirror equal to the bucket (`Mirror.pull`).
    """
    mirror = Mirror(address)
    mirror.pull()
    return mirror.path


@contextlib.contextmanager
def restored_and_uploaded(workdir: str, *, locks: bool) -> Iterator[None]:
    """If a work directory is in a bucket, restores its mirror before the `with` block and uploads outputs after it.

    Args:
      workdir: the value of --workdir.
      locks: whether the `with` block calls `Workdir.lock`, which restores and uploads the mirror itself.

    Raises:
      UsageError: the bucket cannot be used, or the mirror cannot be written.
    """
    if is_bucket(workdir):
        restored(workdir)
    yield
    if is_bucket(workdir) and not locks:
        Mirror(workdir).upload_outputs()


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path}, the mirror of a bucket, cannot be written ({error.strerror or error}): make room, or set "
            "XDG_CACHE_HOME to a directory on another disk"
        ) from error


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "resnet_jax", "buckets").absolute()
    except RuntimeError:
        raise UsageError(
            "the home directory, in which buckets are mirrored, is not known: set XDG_CACHE_HOME or HOME"
        ) from None
