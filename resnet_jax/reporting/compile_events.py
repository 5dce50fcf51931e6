"""Counts compilations; after the first training step of a run there should be none."""

from types import TracebackType
from typing import Any

from jax import monitoring

_EVENT = "/jax/core/compile/backend_compile_duration"  # also recorded for programs from the compile cache


class CompileCounter:
    """A context manager that counts the programs that JAX compiles inside the `with` block."""

    def __init__(self) -> None:
        self.count = 0  # programs compiled so far
        self._expected: int | None = None

    @property
    def unexpected(self) -> int:
        """The number of programs compiled since `expect_no_more`; 0 before that call."""
        return 0 if self._expected is None else self.count - self._expected

    def expect_no_more(self) -> None:
        """Declares that all programs are compiled: later compilations are unexpected."""
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
