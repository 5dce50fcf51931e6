"""How the wall time of a run is spent."""

import contextlib
import time
from collections.abc import Iterator


class Timings:
    """Seconds by name of the part that took them; the parts must not nest."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._parts: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Adds the time spent inside to `part`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._parts[part] = self._parts.get(part, 0.0) + time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds since this object was made."""
        return time.perf_counter() - self._start

    @property
    def training(self) -> float:
        """Seconds in none of the measured parts: the training loop itself."""
        return self.total - sum(self._parts.values())

    def as_dict(self) -> dict[str, float]:
        """All parts, `training` and `total`, in seconds."""
        return {**self._parts, "training": self.training, "total": self.total}
