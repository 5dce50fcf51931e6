"""Copies any data set into shards with random access; on request resizes images or adds JPEG restart markers."""

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data import imagenet_classes
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.data.sources import Source
from resnet_jax.distributed.signals import STOPPED, Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.files import fsync, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.programs.prepare.in_order import in_order
from resnet_jax.programs.prepare.rewriting import Rewrite
from resnet_jax.programs.prepare.shards import Shard, ShardedSplit, ShardWriter, divide, rewritten, write_info
from resnet_jax.programs.prepare.target import (
    RECORD_OVERHEAD,
    VERSION,
    Target,
    check_space,
    count_threads,
    lock,
    make_target,
    train_command,
)
from resnet_jax.text import duration

logger = logging.getLogger(__name__)

OTHER = "converted"  # TFDS name of a copied data set whose classes are not the 1,000 classes of ImageNet
_SAMPLE = 64  # number of images of each split that are rewritten to estimate size and time
_PROGRESS = "progress"  # subfolder of an unfinished copy; holds the conversion's plan and records of complete shards


class Estimate(NamedTuple):
    """The sizes of a split and of its converted copy, and the time of the conversion, estimated from a sample."""

    examples: int
    source_bytes: int
    bytes: int
    seconds: float
    digest: str  # hash of the sampled images, to detect that an interrupted conversion is continued with other data

    def describe(self, split: str) -> str:
        """Returns a line about the split that is printed before the conversion."""
        return f"{split:<11} {self.examples:>9,} images, {_size(self.source_bytes)} now, about {_size(self.bytes)} then"


def convert_to(  # noqa: PLR0913  one argument for each config key
    output: str,
    open_splits: Callable[[], Mapping[str, Source]],
    *,
    resize_short_side: int | None,
    quality: int,
    restart_markers: bool,
    verify_all: bool,
    num_threads: int | None,
    max_image_pixels: int = MAX_PIXELS,
) -> int:
    """Copies the data set that `open_splits` opens into the directory `output`; returns the exit status.

    The other arguments are those of `prepare`.
    """
    root, threads = local_path(output, name="config.prepare.output").resolve(), count_threads(num_threads)
    target = make_target(
        root,
        resize_short_side=resize_short_side,
        quality=quality,
        restart_markers=restart_markers,
        verify_all=verify_all,
        max_pixels=max_image_pixels,
    )
    sources = open_splits()
    names = sources["train"].class_names
    base = target.base if names == imagenet_classes.synsets() else OTHER
    return convert(sources, dataclasses.replace(target, base=base), num_threads=threads)


def convert(sources: Mapping[str, Source], target: Target, *, num_threads: int) -> int:
    """Copies the splits of a data set, or continues an interrupted conversion.

    The copy has the same examples in the same order, so that a run on it sees the same batches as on the original.

    Args:
      sources: split name, 'train' or 'validation', -> its examples.
      target: the data set to be made.
      num_threads: threads that read and rewrite.

    Returns:
      The exit status: 0, or 75 after a signal.

    Raises:
      UsageError: an example cannot be read, the disk is too small, or an unfinished copy was made from other data.
    """
    check_same(*(source.class_names for source in sources.values()), owner=sources["train"].name)
    unfinished = target.directory.with_name(f"{VERSION}.unfinished")
    requests = StopRequests()
    requests.begin(saves=False)
    with Signals(requests.ask), lock(target):
        if target.directory.exists():
            print(f"Nothing to do: {target.directory} exists. To convert again, remove it first.")
            return 0
        splits, plan = _plan(sources, target, unfinished, num_threads)
        writer = ShardWriter(unfinished / _PROGRESS, target.rewrite, num_threads)
        try:
            with Counter("written", total=sum(map(len, sources.values())), requests=requests) as counter:
                shards = {split.name: writer.write(split, counter) for split in splits}
        except StoppedError:
            done = sum(
                writer.complete(split, number) is not None for split in splits for number in range(len(split.ends))
            )
            total = sum(len(split.ends) for split in splits)
            print(f"Stopped: {done:,} of {total:,} shards are complete. Run the same command again to continue.")
            return STOPPED
        _finish(target, unfinished, splits, shards, plan)
    print(*_summary(target, shards), sep="\n")
    return 0


def _plan(
    sources: Mapping[str, Source], target: Target, unfinished: Path, num_threads: int
) -> tuple[list[ShardedSplit], dict[str, Any]]:
    """Estimates size and time, prints them, and divides the data into shards.

    Returns:
      The splits, divided into shards, and the plan of the conversion as JSON values.

    Raises:
      UsageError: the copy in `unfinished` was begun from other data or with other settings, or the disk is too small.
    """
    estimates = {name: _estimate(source, target.rewrite, num_threads) for name, source in sources.items()}
    plan: dict[str, Any] = {
        "sources": {name: source.name for name, source in sources.items()},
        "samples": {name: estimate.digest for name, estimate in estimates.items()},
        "examples": {name: estimate.examples for name, estimate in estimates.items()},
        "source_bytes": {name: estimate.source_bytes for name, estimate in estimates.items()},
        "classes": fingerprint(sources["train"].class_names),
        **target.settings,
        "verified": "none" if target.marking is None else "all" if target.marking.verify_all else "a sample",
    }
    progress, file = unfinished / _PROGRESS, unfinished / _PROGRESS / "plan.json"
    seconds = sum(estimate.seconds for estimate in estimates.values())
    print(*(estimate.describe(name) for name, estimate in estimates.items()), sep="\n")
    if file.exists():
        if json.loads(file.read_text()) != plan:
            raise UsageError(
                f"{unfinished} is the unfinished copy of other data or with other settings: remove it, or name another "
                "directory with --config.prepare.output=DIR"
            )
        print(f"continuing {unfinished}; the whole takes about {duration(seconds)}", flush=True)
    else:
        check_space(target.root, sum(estimate.bytes for estimate in estimates.values()))
        print(f"writing {target.directory} takes about {duration(seconds)} with {num_threads} threads", flush=True)
        progress.mkdir(parents=True, exist_ok=True)
        write_json(file, plan)
    splits = [
        divide(name, source, num_bytes=estimates[name].bytes, directory=unfinished, dataset=target.base)
        for name, source in sources.items()
    ]
    return splits, plan


def _estimate(source: Source, rewrite: Rewrite, num_threads: int) -> Estimate:
    """Estimates size and time of the whole conversion: converts a sample of evenly spaced examples and scales up."""
    indices = np.unique(np.linspace(0, len(source) - 1, _SAMPLE).astype(int)).tolist()
    originals = [rewritten(source, Rewrite(), index).image.encoded for index in indices]
    start = time.monotonic()
    stored = list(in_order(rewrite, originals, num_threads=num_threads, ahead=len(originals)))
    scale = len(source) / len(indices)
    return Estimate(
        examples=len(source),
        source_bytes=round(scale * sum(map(len, originals))),
        bytes=round(scale * sum(len(new.encoded) for new in stored)) + RECORD_OVERHEAD * len(source),
        seconds=scale * (time.monotonic() - start),
        digest=hashlib.sha256(b"".join(originals)).hexdigest()[:16],
    )


def _finish(
    target: Target,
    unfinished: Path,
    splits: Sequence[ShardedSplit],
    shards: Mapping[str, list[Shard]],
    plan: dict[str, Any],
) -> None:
    """Writes the metadata that TFDS needs, and renames the directory `unfinished` to that of the finished data set."""
    kept = {split: _kept(own) for split, own in shards.items()}
    identity = hashlib.sha256(json.dumps([plan["sources"], plan["samples"]]).encode()).hexdigest()[:8]
    facts = {**plan, "kept": kept, "missing": [], "fingerprint": identity}
    write_info(unfinished, splits, shards, version=VERSION, metadata=facts)
    for file in unfinished.glob("*.json"):
        fsync(file)
    shutil.rmtree(unfinished / _PROGRESS)
    unfinished.rename(target.directory)
    fsync(target.directory.parent)


def _kept(shards: Sequence[Shard]) -> dict[str, dict[str, int]]:
    """Counts the images that could not be resized or given restart markers, by reason.

    Returns:
      {'not_shrunk' or 'not_marked': {reason: number of images}}.
    """
    return {
        field: {
            reason: sum(getattr(shard, field).get(reason, 0) for shard in shards)
            for reason in sorted({reason for shard in shards for reason in getattr(shard, field)})
        }
        for field in ("not_shrunk", "not_marked")
    }


def _summary(target: Target, shards: Mapping[str, list[Shard]]) -> list[str]:
    lines = [f"{target.name} {VERSION} is in {target.directory}"]
    for split, own in shards.items():
        size, images, before = (
            sum(getattr(shard, field) for shard in own) for field in ("file_bytes", "image_bytes", "original_bytes")
        )
        lines.append(
            f"{split:<11} {sum(shard.examples for shard in own):>9,} images, {_size(size)} in {len(own):,} files; "
            f"the images have {_size(images)}, were {_size(before)} ({images / max(1, before) - 1:+.1%})"
        )
        what = {"not_shrunk": "not resized", "not_marked": "without restart markers"}
        for field, reasons in _kept(own).items():
            lines += [f"{what[field]}, {count:,} of {split}: {reason}" for reason, count in reasons.items()]
    return [*lines, f"train with: {train_command(target)}"]


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
