"""How many programs are compiled: once a run is under way, there should be none any more."""

from types import TracebackType
from typing import Any

from jax import monitoring

_EVENT = "/jax/core/compile/backend_compile_duration"  # also of a program that is read from the compile cache


class CompileCounter:
    """Counts while it is open. A context manager."""

    def __init__(self) -> None:
        self.count = 0  # programs
        self._expected: int | None = None

    @property
    def unexpected(self) -> int:
        """How many were compiled since `expect_no_more`; before that, each is expected."""
        return 0 if self._expected is None else self.count - self._expected

    def expect_no_more(self) -> None:
        """All programs of a run are there."""
        self._expected = self.count

    def __enter__(self) -> "CompileCounter":
        monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        del duration_secs
        if event == _EVENT:
            self.count += 1
