"""Shows a run's progress: a live bar on a terminal and in a notebook, lines in a log."""

import contextlib
import logging
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tqdm.auto import tqdm

from resnet_jax.local_paths import with_relative_paths
from resnet_jax.reporting.bottleneck import shares_line
from resnet_jax.text import duration, four_decimals, labelled, printable_lines, wrapped

logger = logging.getLogger(__name__)

# True if this process is the kernel of a notebook that can show a progress bar: then `tqdm.auto` chose a class of
# `tqdm.notebook`.
_IN_NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)


class Progress:
    """Shows the progress of training. It is a context manager, which closes the progress bar at its end."""

    def __init__(self, *, start: int, total_steps: int, visible: bool):
        """Opens a progress bar in a notebook, and if stderr is a terminal.

        Args:
          start: number of updates done before this start of the run.
          total_steps: number of updates of the whole run.
          visible: whether this process may show a progress bar; true on process 0 only.
        """
        self._total_steps = total_steps
        self._advised = False
        self._bar = tqdm(
            total=total_steps,
            initial=start,
            unit=" step",
            dynamic_ncols=True,
            # None disables the bar if stderr is not a terminal, which it never is in a notebook.
            disable=(False if _IN_NOTEBOOK else None) if visible else True,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the progress bar: it stays on the screen, and later output appears below it."""
        self._bar.close()

    def advance(self) -> None:
        """Advances the progress bar by one step."""
        self._bar.update()

    def first_step(self, after: float, spent: Mapping[str, float], *, loss: float) -> None:
        """Shows the loss of the first training step on the progress bar, and logs when the step was done.

        Args:
          after: seconds from the start of the process to the results of the first step.
          spent: seconds since the start of the process, by phase.
          loss: mean over the batch, in nats.
        """
        self._show(f"loss {loss:.4g}")
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in spent.items() if seconds >= 0.05)
        logger.info(labelled("first step", f"after {after:.1f} s ({phases})"))

    def train(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows the metrics of a window of steps: on the progress bar if there is one, else as a log line.

        Args:
          step: last step of the window.
          scalars: metrics by name, as in `metrics.jsonl`, and, if it is known, `seconds_left`, the time until the run
            ends.
        """
        rate = f"{scalars['images_per_second']:,.0f} images/s"
        shares = {name.removeprefix("share_"): value for name, value in scalars.items() if name.startswith("share_")}
        left = f"{duration(scalars['seconds_left'])} left  " if "seconds_left" in scalars else ""
        self._show(f"loss {scalars['loss']:.4g}, {rate}")
        logger.log(
            logging.INFO if self._bar.disable else logging.DEBUG,
            "step %7d/%d  epoch %6.2f  loss %s  top-1 %6.2f %%  lr %.5f  %s%s  %s%s",
            step,
            self._total_steps,
            scalars["epoch"],
            four_decimals(scalars["loss"]),
            100 * scalars["top1"],
            scalars["lr"],
            rate,
            _efficiency(scalars),
            left,
            shares_line(shares),
        )

    def advise(self, advice: str | None) -> None:
        """Logs `advice` on how to speed up the run if it is not None; only the first advice of a run is logged."""
        if advice and not self._advised:
            logger.info(labelled("limit", advice))
            self._advised = True

    def evaluation(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs the loss and accuracy of an evaluation at `step`."""
        loss, accuracies = four_decimals(scalars["loss"]), "  ".join(accuracies_in_percent(scalars))
        logger.info("eval %7d/%d  loss %s  %s  n=%d", step, self._total_steps, loss, accuracies, scalars["count"])

    def _show(self, text: str) -> None:
        """Shows a text at the end of the progress bar, if there is one."""
        if not self._bar.disable:
            self._bar.set_postfix_str(text)


def accuracies_in_percent(scalars: Mapping[str, float | None]) -> list[str]:
    """Formats `top1` and `top5` of metrics, where they are known: ['top-1 98.75 %', 'top-5 100.00 %']."""
    known = {name: scalars.get(f"top{name}") for name in (1, 5)}
    return [
        f"top-{name} {100 * value:.2f} %" for name, value in known.items() if value is not None and math.isfinite(value)
    ]


def _efficiency(scalars: Mapping[str, float]) -> str:
    """Formats images/s per device if there are several devices, MFU and HFU if known: ' (99 a device, MFU 31.2%)'."""
    rate, each = scalars["images_per_second"], scalars["images_per_second_per_device"]
    figures = [f"{each:,.0f} a device"] if rate > each else []
    figures += [f"{name.upper()} {scalars[name]:.1%}" for name in ("mfu", "hfu") if name in scalars]
    return f" ({', '.join(figures)})" if figures else ""


def show_log(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Prints what this package logs at `level` and above, one line per record.

    Args:
      level: lowest level to print, a constant of `logging`.
      stream: where to print; None: print errors to stderr and everything else to stdout.
    """
    package = logging.getLogger("resnet_jax")
    package.setLevel(logging.DEBUG)
    package.propagate = False
    package.handlers = [_BarHandler(level, stream)]


@contextlib.contextmanager
def keep_log(path: Path) -> Iterator[None]:
    """Appends what this package logs inside the `with` block, at DEBUG and above, to a file."""
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Printable("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    package = logging.getLogger("resnet_jax")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


class _Printable(logging.Formatter):
    """Formats a record and escapes control characters, which names of files and classes may contain."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


class _LogFile(logging.FileHandler):
    """Appends log lines to a file. Lines that cannot be written are left out, after one warning on the terminal."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802, a method of `logging`
        """Warns about the error that is being handled; `logging` would print a traceback for each line."""
        if self._has_failed:
            return
        self._has_failed = True
        error = sys.exception()
        reason = getattr(error, "strerror", None) or error
        message = f"{self.baseFilename} cannot be written ({reason}): lines are missing in it; make room on the disk"
        logger.warning(labelled("log", message))

    def close(self) -> None:
        """Closes the file, also if the last lines cannot be written."""
        try:
            super().close()
        except OSError as error:
            if not self._has_failed:
                logger.warning(labelled("log", f"{self.baseFilename} lacks its last lines ({error.strerror})"))


class _BarHandler(logging.Handler):
    """Prints log lines above the progress bar, wrapped on a terminal; a plain `print` would break the bar."""

    def __init__(self, level: int, stream: TextIO | None):
        super().__init__(level)
        self.setFormatter(_Printable())
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        stream = self._stream or (sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
        encoding = stream.encoding or "utf-8"
        text = with_relative_paths(self.format(record))
        # File names may hold any bytes: escape what the stream cannot encode.
        line = text.encode(encoding, "backslashreplace").decode(encoding)
        if stream.isatty():
            line = wrapped(line, shutil.get_terminal_size().columns)
        try:
            tqdm.write(line, file=stream)
            stream.flush()
        except OSError:  # stdout is a pipe that nobody reads any more: keep training
            pass
