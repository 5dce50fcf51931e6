import errno
import json
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from resnet_jax.checkpoints.retention import Retention
from resnet_jax.reporting.report_picture import _PHASE_COLORS, _windows, write_report
from resnet_jax.reporting.time_accounting import PHASES


def train_line(number, last, **changes):
    shares = dict.fromkeys(PHASES, 0.0) | {"step": 0.75, "input": 0.25}
    return {
        "step": 10 * number,
        "split": "train",
        "loss": 1 / number,
        "top1": number / last,
        "lr": 0.1,
        "epoch": number / 7,
        "images_per_second": 1000.0 + number,
        "mfu": 0.3,
        "hfu": 0.35,
        "seconds": float(number),
        **{f"share_{phase}": share for phase, share in shares.items()},
        **changes,
    }


def lines(count, **changes):
    train = [train_line(number, count, **changes) for number in range(1, count + 1)]
    return [*train, {"step": 10 * count, "split": "eval", "loss": 2.0, "top1": 0.5, "count": 9}]


def older(line):
    """A line as versions before the time accounting wrote it."""
    newer = ("seconds", "mfu", "hfu", "share")
    return {name: value for name, value in line.items() if not name.startswith(newer)}


def drawn(tmp_path, records, title="a run"):
    before = dict(matplotlib.rcParams)
    (tmp_path / "m").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"step')
    write_report(tmp_path / "m", tmp_path / "report.png", title=title)
    assert dict(matplotlib.rcParams) == before  # no state of matplotlib is left
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert {path.name for path in tmp_path.iterdir()} == {"m", "report.png"}
    return Image.open(tmp_path / "report.png").convert("RGB")


@pytest.mark.parametrize(
    ("records", "title"),
    [
        ([], "a run"),
        (lines(1), "$x$ $\\frac$ 猫 two\nlines \udcff \x00"),
        (lines(1)[:1], ""),
        (lines(1)[1:], "a run"),
        ([lines(1)[1] | {"step": 0}], "a run"),
        (lines(4, loss=None, images_per_second=None, mfu=None, hfu=None), "a run"),
        (lines(6, top1=None)[:-1], "a run"),
        ([*map(older, lines(5)[:-1]), *lines(9)[5:]], "a run"),
        ([*map(older, lines(5))], "a run"),
        (lines(5000), "a run"),
    ],
    ids=[
        "nothing",
        "one, odd title",
        "no eval, no title",
        "eval alone",
        "step 0",
        "null",
        "no accuracy",
        "mixed",
        "older",
        "many",
    ],
)
def test_any_metrics_and_title_can_be_drawn_without_a_warning(tmp_path, records, title):
    image = drawn(tmp_path, records, title)
    assert image.size == (1200, 1600)
    assert (tmp_path / "report.png").stat().st_size < 500_000


def test_each_phase_is_plotted_in_its_color_by_its_share(tmp_path):
    pixels = np.asarray(drawn(tmp_path, lines(3)))[1222:1528, 109:946]  # inside the last panel
    for phase, color in _PHASE_COLORS.items():
        rgb = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        share = (pixels == rgb).all(axis=-1).mean()
        assert share == pytest.approx({"step": 0.75, "input": 0.25}.get(phase, 0.0), abs=0.03), phase


def test_every_phase_has_its_own_color():
    assert set(_PHASE_COLORS) == set(PHASES) and len(set(_PHASE_COLORS.values())) == len(PHASES)


def columns(count):
    records = [train_line(number, count) for number in range(1, count + 1)]
    return {name: np.array([record[name] for record in records]) for name in records[0] if name != "split"}


def test_windows_begin_where_the_one_before_ends():
    steps, shares = _windows(columns(3))
    assert steps.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(dict(zip(_PHASE_COLORS, shares, strict=True))["input"], [0.25] * 3)


def test_many_windows_are_taken_together_by_their_seconds():
    train = columns(4001)
    train["seconds"][:3] = 1.0, 2.0, 5.0
    train["share_step"][:3] = 0.0, 0.5, 1.0
    steps, shares = _windows(train)
    assert len(steps) == 1335 and steps[:3].tolist() == [0, 30, 60] and steps[-1] == 40010
    assert shares[list(_PHASE_COLORS).index("step")][0] == pytest.approx((1.0 + 5.0) / 8)


def test_the_last_of_equally_good_evaluations_is_named_best(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (figures.append(figure), path.touch()))
    tops = (0.5, None, 0.75, 0.75, 0.6)
    records = [{"step": 1000 * k, "split": "eval", "loss": 1.0, "top1": top, "count": 9} for k, top in enumerate(tops)]
    (tmp_path / "m").write_text("".join(json.dumps(record) + "\n" for record in records))
    write_report(tmp_path / "m", tmp_path / "report.png", title="a run")
    words = [text.get_text() for text in figures[0].axes[1].get_legend().get_texts()]
    assert words == ["evaluation", "best: 75.00 %\nat step 3,000"]
    kept = Retention({1000 * k: top for k, top in enumerate(tops)}, unreadable=(), keep_latest=1, keep_best=1)
    assert kept.best == (3000, 0.75)  # the checkpoint that is kept as best, which `result.json` and the log name


def test_a_full_disk_leaves_the_old_picture(tmp_path, monkeypatch):
    (tmp_path / "m").write_text(json.dumps(lines(1)[0]) + "\n")
    (tmp_path / "report.png").write_bytes(b"old")

    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path / "m", tmp_path / "report.png", title="a run")
    assert (tmp_path / "report.png").read_bytes() == b"old"
    assert not (tmp_path / "report.png.part").exists()


@pytest.mark.parametrize(("peak", "is_cut"), [(50.0, True), (4.0, False), (2.5, False)])
def test_a_single_peak_of_the_loss_does_not_flatten_the_curves(tmp_path, monkeypatch, peak, is_cut):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (figures.append(figure), path.touch()))
    losses = [peak, *np.linspace(2.0, 1.0, 19)]
    records = [
        {"step": 10 * k, "split": "eval", "loss": loss, "top1": 0.5, "count": 9} for k, loss in enumerate(losses)
    ]
    (tmp_path / "m").write_text("".join(json.dumps(record) + "\n" for record in records))
    write_report(tmp_path / "m", tmp_path / "report.png", title="a run")
    panel = figures[0].axes[0]
    assert [text.get_text() for text in panel.texts] == ["largest: 50"] * is_cut
    assert (panel.get_ylim()[1] < peak) == is_cut
