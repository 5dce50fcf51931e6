import json
import threading

import numpy as np

from resnet_jax.reporting.trackers.background import BackgroundTracker
from resnet_jax.reporting.trackers.tracker import Tracker
from resnet_jax.reporting.writers import Writers


class Recorder(Tracker):
    """Keeps what it is told."""

    def __init__(self):
        self.calls = []

    def scalars(self, step, values):
        self.calls.append((step, values))

    def image(self, step, tag, pixels):
        self.calls.append((step, tag, pixels.shape))

    def close(self, *, failed):
        self.calls.append(failed)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_added_and_nan_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        with Writers(path) as out:
            out.scalars(step, "train", {"loss": 0.5, "grad_norm": float("nan")})
            assert lines(path)[-1]["step"] == step  # at once, not at the end
    assert lines(path)[0] == {"step": 1, "split": "train", "loss": 0.5, "grad_norm": None}
    assert len(lines(path)) == 2


def test_each_tracker_gets_everything_but_what_is_constant_or_not_known(tmp_path):
    recorders = [Recorder(), Recorder()]
    trackers = [BackgroundTracker("test", lambda recorder=recorder: recorder) for recorder in recorders]
    with Writers(tmp_path / "m.jsonl", trackers) as out:
        out.image(0, "inputs", np.zeros((4, 5, 3), np.uint8))
        out.scalars(3, "eval", {"loss": 0.5, "top5": float("nan"), "count": 8})
    assert lines(tmp_path / "m.jsonl") == [{"step": 3, "split": "eval", "loss": 0.5, "top5": None, "count": 8}]
    for recorder in recorders:
        assert recorder.calls == [(0, "inputs", (4, 5, 3)), (3, {"eval/loss": 0.5}), False]


def test_a_tracker_is_told_that_the_run_failed(tmp_path):
    recorder = Recorder()
    try:
        with Writers(tmp_path / "m.jsonl", [BackgroundTracker("test", lambda: recorder)]):
            raise ValueError
    except ValueError:
        pass
    assert recorder.calls == [True]


def test_a_broken_tracker_warns_once_and_the_run_and_the_other_trackers_continue(tmp_path, caplog):
    class Full(Recorder):
        def scalars(self, step, values):
            self.calls.append(step)
            raise OSError("[Errno 28] No space left on device\nevents")

    broken, good = Full(), Recorder()
    trackers = [BackgroundTracker("full", lambda: broken), BackgroundTracker("good", lambda: good)]
    with Writers(tmp_path / "m.jsonl", trackers) as out:
        for step in range(20):
            out.scalars(step, "train", {"loss": 0.5})
    assert broken.calls == [0, True]  # called once, then closed
    assert [call[0] for call in good.calls[:-1]] == list(range(20)) and len(lines(tmp_path / "m.jsonl")) == 20
    (warning,) = caplog.messages
    assert warning == (
        "full         shows no more of this start of the run (OSError: [Errno 28] No space left on device events); "
        "metrics.jsonl has everything"
    )


def test_a_tracker_that_cannot_be_opened_warns_once(tmp_path, caplog):
    def refuse():
        raise SystemExit("no network")  # not an Exception

    with Writers(tmp_path / "m.jsonl", [BackgroundTracker("far", refuse)]) as out:
        out.scalars(1, "train", {"loss": 0.5})
    assert [message[:60] for message in caplog.messages] == [
        "far          shows no more of this start of the run (SystemE"
    ]


def test_a_tracker_that_hangs_does_not_hold_up_the_run(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("resnet_jax.reporting.trackers.background._LONGEST_QUEUE", 3)
    released, opened = threading.Event(), threading.Event()

    class Hanging(Recorder):
        def scalars(self, step, values):
            opened.set()
            released.wait(60)

    tracker = BackgroundTracker("slow", Hanging, patience=0.01)
    with Writers(tmp_path / "m.jsonl", [tracker]) as out:
        out.scalars(0, "train", {"loss": 0.5})
        opened.wait(60)
        for step in range(1, 20):
            out.scalars(step, "train", {"loss": 0.5})
    released.set()
    assert len(lines(tmp_path / "m.jsonl")) == 20
    (warning,) = caplog.messages
    assert warning.startswith("slow         shows no more of this start of the run (3 calls are waiting for it)")


def test_the_end_of_a_run_waits_for_a_tracker_only_for_a_while(tmp_path, caplog):
    released = threading.Event()

    class Uploading(Recorder):
        def close(self, *, failed):
            released.wait(60)

    tracker = BackgroundTracker("slow", Uploading, patience=0.01)
    with Writers(tmp_path / "m.jsonl", [tracker]):
        pass
    released.set()
    assert "(not done 0.01 s after the end of the run)" in caplog.text
