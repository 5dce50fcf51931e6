"""`python -m fuzz [TARGET ...] [--minutes=5] [--seed=0]`: looks for inputs that break a target, with Hypothesis.

The first such input is made as small as possible and stored in a file. Make a test of it before you cure the fault.
"""

import argparse
import hashlib
import importlib
import random
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.database import DirectoryBasedExampleDatabase

from fuzz.target import Target

# Name -> module with a `TARGET`.
TARGETS = {
    "images": "fuzz.images",
    "tfrecord": "fuzz.tfrecord",
    "example": "fuzz.example",
    "webdataset": "fuzz.webdataset",
    "parquet": "fuzz.parquet",
    "safetensors": "fuzz.safetensors",
    "config": "fuzz.config",
    "checkpoint": "fuzz.checkpoint",
    "workdir": "fuzz.workdir",
    "channel": "fuzz.channel",
}
_CACHE = Path(".cache/fuzz")  # findings, and what Hypothesis remembers of earlier ones
_MEMORY = 16 * 2**30  # bytes of address space, so that an input cannot take the memory of the machine
_ROUND = 500  # inputs of one call of Hypothesis, which notices the end of the time between calls


def main(argv: list[str]) -> int:
    """Fuzzes the targets one after the other for equal times; returns the exit status: 1 if one of them broke."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; default: all")
    parser.add_argument("--minutes", type=float, default=5.0, help="duration in all")
    parser.add_argument("--seed", type=int, help="seed of the inputs; default: random")
    options = parser.parse_args(argv)
    names = options.targets or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            parser.error(f"{name!r} is not one of {', '.join(TARGETS)}")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    broken = [name for name in names if not fuzz(name, seconds=60 * options.minutes / len(names), seed=seed)]
    return 1 if broken else 0


def fuzz(name: str, *, seconds: float, seed: int) -> bool:
    """Gives random inputs to a target for some time, and prints how many.

    Args:
      name: a key of `TARGETS`.
      seconds: how long.
      seed: seed of the inputs.

    Returns:
      Whether the target withstood; if not, prints the traceback and the file that holds the smallest such input.
    """
    target: Target = importlib.import_module(TARGETS[name]).TARGET
    deadline = time.monotonic() + seconds
    attempts: list[Any] = []  # the last input
    count = 0

    def check(value: Any) -> None:
        nonlocal count
        if time.monotonic() < deadline or count < 1:
            attempts[:] = [value]
            count += 1
            target.check(value)

    seeds = iter(range(seed, seed + 10**9))
    while time.monotonic() < deadline or count < 1:
        try:
            hypothesis.seed(next(seeds))(_settings()(hypothesis.given(target.inputs())(check)))()
        except Exception:
            traceback.print_exc()
            print(f"error: target {name} broke after {count:,} inputs: {_store(name, attempts[0])} holds the input")
            return False
    print(f"{name}: withstood {count:,} inputs with seed {seed}", flush=True)
    return True


def _settings() -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=_ROUND,
        deadline=None,
        database=DirectoryBasedExampleDatabase(_CACHE / "hypothesis"),
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def _store(name: str, value: Any) -> Path:
    """Writes an input to a file, as it is if it consists of bytes, else as Python source."""
    content = value if isinstance(value, bytes) else repr(value).encode()
    path = _CACHE / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
