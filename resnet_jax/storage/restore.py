"""Makes a mirror, the local copy of a work directory, equal to the bucket.

If only this machine has changed files since the last upload, its files are kept.
"""

from pathlib import Path

from resnet_jax.files import delete, write_atomically
from resnet_jax.storage import layout, lease
from resnet_jax.storage.index import Entry, Index
from resnet_jax.storage.layout import OUTPUTS, Signature
from resnet_jax.storage.objects import Bucket

_REMOVED = ".removed"  # suffix of the directory of a checkpoint while its files are deleted


class Restoration:
    """A single restoration of a mirror, the local copy of a work directory, from the bucket."""

    def __init__(self, root: Path, index: Index, bucket: Bucket, *, is_newest: bool):
        """Stores the arguments; `run` restores.

        Args:
          root: directory of the mirror.
          index: index of the mirror.
          bucket: the bucket.
          is_newest: whether this mirror is the one that was last uploaded to the bucket. If so, its files that changed
            after this upload are kept: a process wrote them and was killed before it could upload them. If not, another
            machine has uploaded its mirror since, and the files in the bucket replace those in this mirror.
        """
        self._root, self._index, self._bucket, self._is_newest = root, index, bucket, is_newest

    def run(self) -> None:
        """Copies files that differ from the bucket to the mirror, and deletes files that are not in the bucket.

        Raises:
          BucketError: the bucket cannot be read.
          OSError: the mirror cannot be written.
        """
        names = set(self._bucket.names()) - {lease.NAME}
        of_steps = self._complete_checkpoints(names)
        plain = {name for name in names if layout.step_of(name) is None and _is_safe(name)}
        try:
            self._delete_other_files(plain)
            self._delete_other_checkpoints(of_steps)
            self._copy(plain, layout.plain_files(self._root))
            for step in sorted(of_steps, reverse=True):
                self._copy_checkpoint(step, of_steps[step])
            self._index.complete = set(of_steps)
            self._note_remains(names, of_steps)
            if not self._is_newest:
                self._index.pending = set()
        finally:
            self._index.save()

    def _complete_checkpoints(self, names: set[str]) -> dict[int, set[str]]:
        """Returns step -> names of the checkpoint's objects, for the complete checkpoints (those with a marker)."""
        markers = sorted(filter(layout.is_marker, names))
        found = self._bucket.read_all(dict.fromkeys(markers))
        return {layout.step_of(name) or 0: set(layout.names_in_marker(read.content)) for name, read in found}

    def _note_remains(self, names: set[str], of_steps: dict[int, set[str]]) -> None:
        """Adds the objects of incompletely uploaded checkpoints to the index, so that the next upload deletes them."""
        for name in names:
            step = layout.step_of(name)
            if step is not None and not layout.is_marker(name) and name not in of_steps.get(step, ()):
                self._index.files.setdefault(name, Entry((-1, -1), b""))

    def _delete_other_files(self, wanted: set[str]) -> None:
        for name in layout.plain_files(self._root).keys() - wanted - self._kept():
            if name in self._index.files or not (self._is_newest or name.startswith(OUTPUTS)):
                delete(self._root / name)
                self._index.files.pop(name, None)

    def _delete_other_checkpoints(self, of_steps: dict[int, set[str]]) -> None:
        for step in layout.steps(self._root):
            was_complete = step in self._index.complete and step not in of_steps
            is_another = not self._is_newest and set(layout.checkpoint_files(self._root, step)) != of_steps.get(step)
            if was_complete or is_another:
                self._delete_checkpoint(step)

    def _delete_checkpoint(self, step: int) -> None:
        path = self._root / layout.CHECKPOINTS / str(step)
        removed = path.with_name(path.name + _REMOVED)
        delete(removed)
        path.rename(removed)
        delete(removed)

    def _copy_checkpoint(self, step: int, names: set[str]) -> None:
        local = layout.checkpoint_files(self._root, step)
        if local:
            self._copy(names, local)
        elif not self._was_deleted_here(step, names):
            path = self._root / layout.CHECKPOINTS / str(step)
            part = path.with_name(path.name + layout.UNFINISHED)
            delete(part)
            self._copy(names, {}, into=(path, part))
            if part.exists():
                part.rename(path)

    def _was_deleted_here(self, step: int, names: set[str]) -> bool:
        """Whether a checkpoint is not in the mirror because the run deleted it: it was damaged or no longer needed."""
        return self._is_newest and (step in self._index.complete or not names.isdisjoint(self._index.pending))

    def _copy(self, names: set[str], local: dict[str, Signature], into: tuple[Path, Path] | None = None) -> None:
        """Copies the objects that the mirror lacks or that have changed in the bucket.

        Args:
          names: names of the objects to compare.
          local: name -> signature of those files that the mirror already has.
          into: a directory of the mirror, and the directory to which its files are written instead; None: all files
            are written to their own paths.
        """
        known = {name: self._known(name, local) for name in sorted(names - self._kept())}
        if self._is_newest and into is None:  # skip files that were deleted in the mirror since the last upload
            known = {name: version for name, version in known.items() if name in local or name not in self._index.files}
        for name, found in self._bucket.read_all(known):
            path = self._root / name
            target = path if into is None else into[1] / path.relative_to(into[0])
            if found.state == "value":
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, found.content, sync=into is not None)
                seen = layout.signature(target)
                assert seen is not None
                self._index.files[name] = Entry(seen, found.version)
            elif found.state == "missing" and name in local:  # deleted in the bucket since its names were listed
                delete(path)
                self._index.files.pop(name, None)

    def _known(self, name: str, local: dict[str, Signature]) -> bytes | None:
        """Returns the version of an object with which it need not be read; None if it must be read in any case.

        While the object has this version, the file in the mirror is equal to it or newer.
        """
        entry = self._index.files.get(name)
        if entry is None or name not in local:
            return None
        return entry.version if self._is_newest or entry.signature == local[name] else None

    def _kept(self) -> set[str]:
        return self._index.pending if self._is_newest else set()


def _is_safe(name: str) -> bool:
    """Whether an object outside of checkpoints may be copied: its name stays inside the mirror and is not hidden."""
    parts = name.split("/")
    return all(part and not part.startswith(".") for part in parts) and parts[0] != layout.CHECKPOINTS
