"""Target 'workdir': a changed file of a work directory is read, set aside, or one error line."""

import contextlib
import json
import logging
import logging.handlers
import queue
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.configs import default, run
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.errors import UsageError
from resnet_jax.reporting import metrics_file
from resnet_jax.reporting.run_record import summary
from resnet_jax.reporting.workdir import Workdir

_RESULT = {
    "step": 3,
    "total_steps": 3,
    "stop_reason": "completed",
    "eval": {"count": 7, "top1": 0.5, "top5": None},
    "best": {"step": 3, "top1": 0.5},
    "bad_examples": 1,
    "images_per_second": 3.5,
    "seconds": {"step": 1.0, "total": 1.0},
}
_LINE = {"step": 2, "split": "train", "loss": 1.0}
_BAD = {"source": "a", "index": 3, "where": "x.jpg", "error": "cut short"}
_SETTINGS: dict[str, Any] = default.get_config().to_dict()
_CONTENTS: dict[str, Any] = {
    "config.json": _SETTINGS,
    "run.json": {"starts": [{"start_step": 0}]},
    "classes.json": ["a", "b"],
    "result.json": _RESULT,
    "metrics.jsonl": _LINE,
    "bad_examples.jsonl": _BAD,
}


def inputs() -> SearchStrategy[tuple[str, bytes]]:
    """Returns a strategy for the name and the content of a file: damaged, or JSON of any shape."""
    scalars = strategies.one_of(
        strategies.none(), strategies.booleans(), strategies.integers(), strategies.floats(), strategies.text()
    )
    keys = strategies.one_of(strategies.text(max_size=3), strategies.sampled_from([*_RESULT, *_LINE, *_BAD, "starts"]))
    values = strategies.recursive(
        scalars,
        lambda part: strategies.one_of(
            strategies.lists(part, max_size=3), strategies.dictionaries(keys, part, max_size=3)
        ),
    )
    changed = [
        strategies.tuples(strategies.just(name), one)
        for name, content in _CONTENTS.items()
        for one in (damaged([_json(content)]), strategies.builds(_replaced, strategies.just(content), keys, values))
    ]
    return strategies.one_of(*changed)


def check(changed: tuple[str, bytes]) -> None:
    """Reads every file of a work directory in which one has another content, as a start does."""
    name, content = changed
    with tempfile.TemporaryDirectory() as directory, silent(), _one_line_each():
        workdir = Workdir(directory)
        for other, whole in _CONTENTS.items():
            (workdir.path / other).write_bytes(_json(whole))
        (workdir.checkpoints / "3").mkdir(parents=True)
        (workdir.path / name).write_bytes(content)
        _use(workdir)


@contextlib.contextmanager
def _one_line_each() -> Iterator[None]:
    """Keeps what is logged off the terminal; raises AssertionError for a message of several lines."""
    logger, messages = logging.getLogger("resnet_jax"), queue.SimpleQueue[logging.LogRecord]()
    handler = logging.handlers.QueueHandler(messages)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    while not messages.empty():
        assert "\n" not in messages.get().getMessage()


def _use(workdir: Workdir) -> None:
    for action in (
        lambda: workdir.check(_SETTINGS, may_change=()),
        lambda: _show(workdir),
        lambda: workdir.check_classes(["a", "b"]),
        lambda: metrics_file.read_columns(workdir.metrics),
        lambda: metrics_file.drop_lines_after(workdir.metrics, 9),
        lambda: BadExamples(workdir.bad_examples, at_most=5),
        lambda: workdir.record_start(_SETTINGS, {}, class_names=["a", "b"]),
    ):
        try:
            action()
        except UsageError as error:
            check_message(error)
    with contextlib.suppress(ValueError):  # the command line shows its message
        run.get_config(str(workdir.path))
    assert json.loads((workdir.path / "run.json").read_bytes())["starts"]
    Path(workdir.path, "config.json").unlink()


def _show(workdir: Workdir) -> None:
    result = workdir.finished(_SETTINGS)
    if result is not None:
        summary(result, workdir)


def _replaced(content: Any, key: str, value: Any) -> bytes:
    """Returns JSON in which a value of an object is replaced, or all of another kind of content."""
    return _json(content | {key: value} if isinstance(content, dict) else value)


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


TARGET = Target(inputs, check)
