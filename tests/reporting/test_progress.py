import io
import logging
import sys

import pytest

from resnet_jax.reporting.progress import Progress, keep_log, show_log


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_file_name_can_be_printed(monkeypatch, tmp_path, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    show_log()
    with keep_log(tmp_path / "log"):
        logging.getLogger("resnet_jax.test").warning(
            "%s is no image", b"caf\xe9 \xc3\xa9.jpg".decode(errors="surrogateescape")
        )
    shown = written.getvalue().decode(encoding)
    assert shown == ("caf\\udce9 \\xe9.jpg is no image\n" if encoding == "ascii" else "caf\\udce9 é.jpg is no image\n")
    assert "caf\\udce9 é.jpg is no image" in (tmp_path / "log").read_text(encoding="utf-8")


def test_the_screen_has_relative_paths_and_the_log_absolute_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    show_log()
    with keep_log(tmp_path / "log"):
        logging.getLogger("resnet_jax.test").info("written      %s/runs/a/: batch.png", tmp_path)
    assert capsys.readouterr().out == "written      runs/a/: batch.png\n"
    assert (tmp_path / "log").read_text().endswith(f" written      {tmp_path}/runs/a/: batch.png\n")


def test_the_loss_of_a_diverging_run_is_short(capsys):
    show_log()
    progress = Progress(start=0, total_steps=9, visible=False)
    rates = {"images_per_second": 5.0, "images_per_second_per_device": 5.0}
    progress.train(7, {"epoch": 1.0, "loss": 3.0123456789e30, "top1": 0.1, "lr": 0.1, **rates})
    progress.evaluation(7, {"loss": 1e12, "top1": 0.1, "count": 3})
    step, evaluation = capsys.readouterr().out.splitlines()
    assert "loss 3.012e+30  top-1" in step and "loss 1e+12  top-1" in evaluation
