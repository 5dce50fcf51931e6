"""Makes a bucket equal to its mirror, the local copy of a work directory.

The bucket is changed in this order, so that a run can continue from it if the upload is killed at any moment:

1. Objects outside of checkpoints are deleted if their files no longer exist.
2. Files outside of checkpoints are uploaded, so that log files contain at least the lines up to the newest checkpoint.
3. The files of each new checkpoint are uploaded, then its marker, which says that the checkpoint is complete.
4. `result.json` is uploaded, which says that the newest checkpoint is the last one.
5. Checkpoints that no longer exist in the mirror are deleted, their markers first.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from resnet_jax.files import delete
from resnet_jax.storage import layout
from resnet_jax.storage.index import Entry, Index
from resnet_jax.storage.layout import RESULT, Signature
from resnet_jax.storage.objects import Bucket


class Upload:
    """Uploads a mirror, the local copy of a work directory. For `run`, the caller must hold the lease (`lease.py`)."""

    def __init__(
        self, root: Path, index: Index, bucket: Bucket, *, outgoing: Path, check: Callable[[], None] = lambda: None
    ):
        """Stores the arguments; `run` uploads.

        Args:
          root: directory of the mirror; another thread may write to it during the upload.
          index: index of the mirror.
          bucket: the bucket.
          outgoing: a directory on the same disk, for hard links to the files of checkpoints. They keep the files while
            they are uploaded, even if the run deletes the checkpoint.
          check: raises an error if this process no longer holds the lease.
        """
        self._root, self._index, self._bucket, self._outgoing, self._check = root, index, bucket, outgoing, check

    def run(self) -> None:
        """Uploads what has changed since the last upload.

        Raises:
          BucketError: the bucket cannot be written. The next call uploads what is missing.
          OSError: the mirror cannot be read.
        """
        result = layout.signature(self._root / RESULT)
        checkpoints = self._link_checkpoints()
        plain = layout.plain_files(self._root)
        plain.pop(RESULT, None)
        self._check()
        self._begin(plain, checkpoints, result)
        self._delete(self._gone(plain, result))
        self._write(plain)
        for step, files in checkpoints.items():
            self._write_checkpoint(step, files)
        if result is not None:
            self._write({RESULT: result})
        self._delete_checkpoints(checkpoints)
        delete(self._outgoing)
        self._index.pending = set()
        self._index.save()

    def run_outputs(self) -> None:
        """Uploads exports and other files of modes that do not lock the work directory (`layout.OUTPUTS`).

        Raises:
          BucketError: the bucket cannot be written.
          OSError: the mirror cannot be read.
        """
        plain = layout.plain_files(self._root)
        self._write({name: seen for name, seen in plain.items() if name.startswith(layout.OUTPUTS)})
        self._index.save()

    def _link_checkpoints(self) -> dict[int, dict[str, Signature]]:
        """Makes hard links to the files of checkpoints that are not in the bucket yet.

        Returns:
          For all checkpoints in the mirror: step -> name -> signature of each file.
        """
        found = {}
        for step in layout.steps(self._root):
            if step not in self._index.complete:
                self._link(step)
                files = layout.checkpoint_files(self._outgoing, step)
            else:
                files = layout.checkpoint_files(self._root, step)
            if files:
                found[step] = files
        return found

    def _link(self, step: int) -> None:
        source, target = (root / layout.CHECKPOINTS / str(step) for root in (self._root, self._outgoing))
        delete(target)
        try:
            shutil.copytree(source, target, copy_function=_link_or_copy)
        except (FileNotFoundError, shutil.Error):  # the run has just deleted the checkpoint
            delete(target)

    def _begin(
        self, plain: Mapping[str, Signature], checkpoints: Mapping[int, dict[str, Signature]], result: Signature | None
    ) -> None:
        """Adds the objects that this upload is about to write to `Index.pending`, and writes the index to the disk."""
        files = dict(plain) | ({RESULT: result} if result else {})
        for of_step in checkpoints.values():
            files |= of_step
        self._index.pending |= set(self._changed(files))
        self._index.save(sync=True)

    def _changed(self, files: Mapping[str, Signature]) -> list[str]:
        entries = self._index.files
        return [name for name, seen in files.items() if name not in entries or entries[name].signature != seen]

    def _write(self, files: Mapping[str, Signature], *, below: Path | None = None) -> None:
        """Uploads those of the given files that have changed since the last upload.

        Args:
          files: name -> signature.
          below: directory from which the files are read; None: the mirror.
        """
        seen: dict[str, Signature] = {}

        def contents() -> Iterator[tuple[str, bytes]]:
            for name in self._changed(files):
                path = (below or self._root) / name
                before = layout.signature(path)  # taken before reading, so that later changes are noticed
                try:
                    content = path.read_bytes()
                except FileNotFoundError:  # the run has just deleted the file; the next upload deletes the object
                    continue
                if before is not None:
                    seen[name] = before
                    yield name, content

        for name, version in self._bucket.write_all(contents()):
            self._index.files[name] = Entry(seen[name], version)

    def _write_checkpoint(self, step: int, files: Mapping[str, Signature]) -> None:
        if step in self._index.complete:  # already uploaded, but an evaluation may have changed its JSON file
            self._write(files)
            return
        self._write(files, below=self._outgoing)
        self._check()
        for _ in self._bucket.write_all([(layout.marker(step), layout.marker_content(files))]):
            self._index.complete.add(step)

    def _gone(self, plain: Mapping[str, Signature], result: Signature | None) -> list[str]:
        """Returns the names of the objects outside of checkpoints whose files no longer exist in the mirror."""
        kept = {*plain, *([RESULT] if result else [])}
        return [name for name in self._index.files if layout.step_of(name) is None and name not in kept]

    def _delete(self, names: Iterable[str]) -> None:
        names = list(names)
        self._bucket.delete(names)
        for name in names:
            self._index.files.pop(name, None)

    def _delete_checkpoints(self, kept: Mapping[int, Mapping[str, Signature]]) -> None:
        """Deletes the objects of checkpoints that no longer exist in the mirror, and of incomplete checkpoints."""
        gone = self._index.complete - kept.keys()
        self._bucket.delete(map(layout.marker, sorted(gone)))
        self._index.complete -= gone
        of_steps = ((name, layout.step_of(name)) for name in self._index.files)
        self._delete([name for name, step in of_steps if step is not None and name not in kept.get(step, {})])


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        shutil.copy2(source, target)  # this file system has no hard links
