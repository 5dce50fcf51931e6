"""Makes a mirror equal to its bucket, except for files that only this machine has changed since the last upload."""

from pathlib import Path

from resnet_jax.files import delete, write_atomically
from resnet_jax.storage import layout, lease
from resnet_jax.storage.index import Entry, Index
from resnet_jax.storage.layout import OUTPUTS, Signature
from resnet_jax.storage.objects import Bucket

_REMOVED = ".removed"  # suffix of a checkpoint that is being deleted


class Restoration:
    """One comparison of a mirror with its bucket."""

    def __init__(self, root: Path, index: Index, bucket: Bucket, *, is_newest: bool):
        """Takes what is compared.

        Args:
          root: the mirror.
          index: its index.
          bucket: its bucket.
          is_newest: whether the bucket was last written from this mirror. If it was, what has changed in the mirror
            since then is kept, and was written by a process that was killed before it could upload it. If another
            machine has written to the bucket since, the bucket is right.
        """
        self._root, self._index, self._bucket, self._is_newest = root, index, bucket, is_newest

    def run(self) -> None:
        """Copies what differs from the bucket to the mirror, and deletes what the bucket lacks.

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
        """Returns step -> names of the objects, for checkpoints with a marker."""
        markers = sorted(filter(layout.is_marker, names))
        found = self._bucket.read_all(dict.fromkeys(markers))
        return {layout.step_of(name) or 0: set(layout.names_in_marker(read.content)) for name, read in found}

    def _note_remains(self, names: set[str], of_steps: dict[int, set[str]]) -> None:
        """Enters objects that a killed upload left, without a marker, into the index: the next upload deletes them."""
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
        """Whether the mirror lacks a checkpoint because it was surplus, or damaged and moved away."""
        return self._is_newest and (step in self._index.complete or not names.isdisjoint(self._index.pending))

    def _copy(self, names: set[str], local: dict[str, Signature], into: tuple[Path, Path] | None = None) -> None:
        """Copies the objects that the mirror lacks or that have changed in the bucket.

        Args:
          names: the objects.
          local: the files of the mirror among them.
          into: a directory, and the one to write in its place; None: the files are written where they belong.
        """
        known = {name: self._known(name, local) for name in sorted(names - self._kept())}
        if self._is_newest and into is None:  # files that were deleted here
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
            elif found.state == "missing" and name in local:  # it has been deleted in the bucket meanwhile
                delete(path)
                self._index.files.pop(name, None)

    def _known(self, name: str, local: dict[str, Signature]) -> bytes | None:
        """Returns the version of the object that the mirror holds, or is ahead of; None: it has to be read."""
        entry = self._index.files.get(name)
        if entry is None or name not in local:
            return None
        return entry.version if self._is_newest or entry.signature == local[name] else None

    def _kept(self) -> set[str]:
        return self._index.pending if self._is_newest else set()


def _is_safe(name: str) -> bool:
    """Whether an object can be copied: its name is that of a file below the mirror which is not hidden."""
    parts = name.split("/")
    return all(part and not part.startswith(".") for part in parts) and parts[0] != layout.CHECKPOINTS
