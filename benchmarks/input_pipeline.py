"""Compares our input pipeline with tf.data, torchvision and NVIDIA DALI on the same JPEG files.

    python benchmarks/input_pipeline.py [--images DIR] [--ours KEY=VALUE ...] [--evaluation] [--json FILE]

Our loader needs only this package. The others are measured if they are installed in the same environment (Linux,
Python 3.12; a few gigabytes; no GPU is needed):

    pip install tensorflow-cpu torch torchvision nvidia-dali-cuda130 psutil

If `jpegtran` is installed, each of ours is also measured on the same photos with restart markers, as --mode=prepare
stores them (`prepare.restart_markers`). With --evaluation, ours is measured on evaluation batches, too.

Each measurement is a new process with one pipeline, which makes some batches to warm up and then a timed window of
batches. The pipelines run in turn in each round, so that other load on the machine affects all of them alike; the files
are in the page cache. The table shows medians over the rounds; "ours is" is the median of the ratios within a round.

All do the same work: decode, random crop (8 to 100 % of the area, aspect ratio 3/4 to 4/3), resize to a square. The
outputs are those that each pipeline passes to the device: uint8 for ours, normalized float32 for tf.data and
torchvision, and both for DALI.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

from benchmarks import photos
from benchmarks.measurement import NOT_INSTALLED, Measurement, Settings
from benchmarks.pipelines import RIVALS, Contender, ours
from benchmarks.table import render, summarize
from resnet_jax.errors import UsageError
from resnet_jax.programs.command_line import fail
from resnet_jax.programs.prepare.marking import Marking, find_tool
from resnet_jax.programs.prepare.rewriting import Rewrite

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes the JSON file."""
    options = _parse(argv)
    try:
        markers = options.markers and _finds_jpegtran()
        contenders = [*_ours(options.ours or [{}], markers=markers, evaluation=options.evaluation)]
        contenders += _rivals(options.rivals)
        if len({contender.name for contender in contenders}) < len(contenders):
            raise UsageError("a pipeline is listed twice: give each --ours different keys, and name each rival once")
        with _linked_photos(options.images, options.count, markers=markers) as (folder, statistics):
            settings = Settings(
                folder=str(folder),
                batch_size=options.batch_size,
                image_size=options.image_size,
                cores=options.cores,
                warmup_batches=options.warmup,
                batches=options.batches,
            )
            report = describe(settings, statistics, options.repeats)
            print(*(f"{key:9} {value}" for key, value in report.items()), "", sep="\n", flush=True)
            rounds = measure_rounds(contenders, settings, options.repeats)
    except UsageError as error:
        fail(str(error))
    if contenders[0].name not in rounds:
        fail("our pipeline could not be measured, so there is no reference for the ratios", status=1)
    print("", render(summarize(rounds)), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(_record(report, settings, statistics, rounds), indent=1) + "\n")


def measure_rounds(contenders: Sequence[Contender], settings: Settings, repeats: int) -> dict[str, list[Measurement]]:
    """Measures each pipeline once per round; prints the reason if one fails, and leaves it out from then on."""
    rounds: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    for number in range(repeats):
        for contender in contenders:
            if contender.name not in rounds:
                continue
            result = run(contender, settings)
            if isinstance(result, str):
                print(f"{contender.name}: left out: {result}", flush=True)
                del rounds[contender.name]
                continue
            rounds[contender.name].append(result)
            rates = f"{result.images / result.cpu_seconds:7,.0f} / CPU-s {result.images / result.seconds:7,.0f} / s"
            print(f"round {number + 1} of {repeats}  {rates}  {contender.name} ({result.version})", flush=True)
    return rounds


def run(contender: Contender, settings: Settings) -> Measurement | str:
    """Measures in a new process; returns the reason as text if that fails. Raises UsageError for wrong options."""
    request = {"contender": dataclasses.asdict(contender), "settings": dataclasses.asdict(settings)}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "benchmarks.measurement", json.dumps(request)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Measurement(**json.loads(done.stdout.splitlines()[-1]))
    last_line = (done.stderr.strip() or "no output").splitlines()[-1]
    if done.returncode == UsageError.exit_status:
        raise UsageError(last_line)
    if done.returncode == NOT_INSTALLED:
        return f"not installed ({last_line})"
    return f"it failed with status {done.returncode} ({last_line})"


def describe(settings: Settings, photo: photos.Statistics, repeats: int) -> dict[str, str]:
    """Returns the machine, software, files and method, by label."""
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return {
        "machine": f"{_processor()}, {settings.cores} of {os.cpu_count()} cores{load}",
        "software": f"Python {platform.python_version()}, {platform.platform(terse=True)}",
        "commit": _commit(),
        "photos": f"{photo.count:,} JPEG, mean {photo.mean_kilobytes:.0f} kB, "
        f"{photo.mean_width:.0f} x {photo.mean_height:.0f} pixels, {photo.share_420:.0%} of them 4:2:0",
        "method": f"{repeats} rounds; windows of {settings.batches} batches of {settings.batch_size} at "
        f"{settings.image_size} pixels after {settings.warmup_batches} warm-up batches",
    }


def _ours(overrides: Sequence[dict[str, str]], *, markers: bool, evaluation: bool) -> Iterator[Contender]:
    """Yields our pipelines; the first is the reference of the ratios."""
    for evaluates in (False, True)[: 1 + evaluation]:
        for own in overrides:
            for marked in (False, True)[: 1 + markers]:
                yield ours(own, markers=marked, evaluation=evaluates)


def _finds_jpegtran() -> bool:
    """Returns whether `jpegtran` is installed; prints a line if it is not."""
    found = shutil.which("jpegtran") is not None
    if not found:
        print("ours, restart markers: left out: jpegtran is not installed (apt install libjpeg-turbo-progs)")
    return found


@contextlib.contextmanager
def _linked_photos(images: Path | None, count: int, *, markers: bool) -> Iterator[tuple[Path, photos.Statistics]]:
    """Finds or generates the photos, links them into folders of one class, and reads them into the page cache.

    With `markers`, it also writes them with restart markers, and prints the change of the sizes.
    """
    with tempfile.TemporaryDirectory(prefix="input_pipeline-") as scratch:
        source = images or Path(scratch, "photos")
        if not source.exists() or (source.is_dir() and not any(source.iterdir())):
            print(f"generating {count:,} photos in {source}", flush=True)
            photos.write(source, count=count, seed=0)
        files = photos.find(source, count=count)
        photos.link(files, Path(scratch, "linked"))
        if markers:
            marked = _mark(files, Path(scratch, "marked"))
            photos.link(marked, photos.with_markers(Path(scratch, "linked")))
        yield Path(scratch, "linked"), photos.statistics(files)


def _mark(files: Sequence[Path], folder: Path) -> list[Path]:
    """Writes the files with restart markers into a folder, where it can; returns the paths."""
    folder.mkdir()
    rewrite = Rewrite(marking=Marking(find_tool()))

    def write_one(numbered: tuple[int, Path]) -> Path:
        path = folder / f"{numbered[0]:06}.jpg"
        path.write_bytes(rewrite(numbered[1].read_bytes()).encoded)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        marked = list(threads.map(write_one, enumerate(files)))
    before, after = (sum(path.stat().st_size for path in paths) for paths in (files, marked))
    print(f"size of the photos with restart markers: {after / before - 1:+.2%}", flush=True)
    return marked


def _record(
    report: dict[str, str], settings: Settings, statistics: photos.Statistics, rounds: dict[str, list[Measurement]]
) -> dict[str, Any]:
    return {
        **report,
        "command": sys.argv,
        "settings": {key: value for key, value in dataclasses.asdict(settings).items() if key != "folder"},
        "statistics": dataclasses.asdict(statistics),
        "measurements": {name: [measurement._asdict() for measurement in own] for name, own in rounds.items()},
        "table": [row._asdict() for row in summarize(rounds)],
    }


def _rivals(names: Sequence[str] | None) -> list[Contender]:
    known = {rival.name: rival for rival in RIVALS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UsageError(f"--rivals {unknown[0]!r} is not one of {', '.join(known)}")
    return list(RIVALS) if names is None else [known[name] for name in names]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    """The model of the CPU; `platform.processor()` does not return it on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=Path, help="folder of JPEG files; an empty or new one is filled with generated photos")
    add("--count", type=int, default=2048, help="photos to use, or to generate (%(default)s)")
    add(
        "--ours",
        action="append",
        nargs="*",
        type=_override,
        metavar="KEY=VALUE",
        help="measure ours with these config keys; may be repeated, the first one is the reference of the ratios",
    )
    add(
        "--rivals", nargs="*", help=f"pipelines to compare with, from {', '.join(rival.name for rival in RIVALS)} (all)"
    )
    add("--no-markers", dest="markers", action="store_false", help="do not measure ours with restart markers")
    add("--evaluation", action="store_true", help="measure ours on evaluation batches, too")
    add("--repeats", type=int, default=5, help="number of rounds (%(default)s)")
    add("--batches", type=int, default=32, help="batches per window (%(default)s)")
    add("--warmup", type=int, default=16, help="warm-up batches before the window (%(default)s)")
    add("--batch-size", type=int, default=128, help="images per batch (%(default)s)")
    add("--image-size", type=int, default=224, help="image size in pixels (%(default)s)")
    add("--cores", type=int, default=_cores(), help="threads or worker processes per pipeline (all cores: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="file for all measurements")
    options = parser.parse_args(argv)
    options.ours = [dict(overrides) for overrides in options.ours or ()]
    return options


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, for example data.resize=bicubic")
    return key, value


if __name__ == "__main__":
    main()
