"""What a person sees of a run: a live bar on a terminal, plain lines in a log."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from resnet_jax.reporting.bottleneck import duration, shares_line

logger = logging.getLogger(__name__)


class Progress:
    """Shows how far training is. A context manager: leaving it ends the bar."""

    def __init__(self, *, start: int, total_steps: int, visible: bool):
        """Starts at step `start` of `total_steps`; `visible` only on process 0."""
        self._total_steps = total_steps
        self._advised = False
        self._bar = tqdm(
            total=total_steps, initial=start, unit=" step", dynamic_ncols=True, disable=None if visible else True
        )  # None: no bar where stderr is no terminal

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it is; what is printed next comes below it."""
        self._bar.close()

    def advance(self) -> None:
        """One step was made."""
        self._bar.update()

    def first_step(self, after: float, spent: Mapping[str, float]) -> None:
        """Says how many seconds after the start the first step was done, and what they were spent on."""
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in spent.items() if seconds >= 0.05)
        logger.info("first step   after %.1f s (%s)", after, parts)

    def train(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows the scalars of the steps up to `step`: on the bar if there is one, else as a line."""
        rate = f"{scalars['images_per_second']:,.0f} images/s"
        shares = {name.removeprefix("share_"): value for name, value in scalars.items() if name.startswith("share_")}
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {scalars['loss']:.4g}, {rate}")
        logger.log(
            logging.INFO if self._bar.disable else logging.DEBUG,
            "step %7d/%d  epoch %6.2f  loss %.4f  top-1 %6.2f %%  lr %.5f  %s%s  %s left  %s",
            step,
            self._total_steps,
            scalars["epoch"],
            scalars["loss"],
            100 * scalars["top1"],
            scalars["lr"],
            rate,
            _efficiency(scalars),
            duration(scalars["seconds_left"]),
            shares_line(shares),
        )

    def advise(self, words: str | None) -> None:
        """Says once what holds a run up."""
        if words and not self._advised:
            logger.info("limit        %s", words)
            self._advised = True

    def evaluation(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows the result of an evaluation."""
        logger.info(
            "eval %7d/%d  loss %.4f  top-1 %.2f %%  top-5 %.2f %%  n=%d",
            step,
            self._total_steps,
            scalars["loss"],
            100 * scalars["top1"],
            100 * scalars["top5"],
            scalars["count"],
        )


def _efficiency(scalars: Mapping[str, float]) -> str:
    """What is known besides the rate: that of each device where there are several, and the share of the peak FLOPs."""
    rate, each = scalars["images_per_second"], scalars["images_per_second_per_device"]
    parts = [f"{each:,.0f} a device"] if rate > each else []
    parts += [f"MFU {scalars['mfu']:.1%}"] if "mfu" in scalars else []
    return f" ({', '.join(parts)})" if parts else ""


def show_log(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Prints what this package logs at this level and above, one line a record.

    Args:
      level: of `logging`.
      stream: that it goes to; None: stdout, errors to stderr.
    """
    package = logging.getLogger("resnet_jax")
    package.setLevel(logging.DEBUG)
    package.propagate = False
    package.handlers = [_BarHandler(level, stream)]


@contextlib.contextmanager
def keep_log(path: Path) -> Iterator[None]:
    """Adds what this package logs meanwhile, tables included, to a file."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    package = logging.getLogger("resnet_jax")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


class _BarHandler(logging.Handler):
    """Prints above the bar instead of through it."""

    def __init__(self, level: int, stream: TextIO | None):
        super().__init__(level)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        stream = self._stream or (sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
        encoding = stream.encoding or "utf-8"
        line = self.format(record).encode(encoding, "backslashreplace").decode(encoding)  # file names hold any bytes
        try:
            tqdm.write(line, file=stream)
            stream.flush()
        except OSError:  # nobody reads any more: training goes on
            pass
