"""A log file that cannot be written costs one warning, never a traceback for each line."""

import logging

from resnet_jax.reporting.progress import keep_log, show_log

logger = logging.getLogger("resnet_jax.tests.log_file")


def test_a_full_disk_is_one_warning(tmp_path, capfd):
    (tmp_path / "train.log").symlink_to("/dev/full")
    show_log()
    with keep_log(tmp_path / "train.log"):
        for number in range(5):
            logger.info("line %d", number)
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(5)]
    warnings = [line for line in lines if not line.startswith("line ")]
    assert len(warnings) == 1 and "train.log cannot be written (No space left on device)" in warnings[0]
    assert printed.err == ""


def test_an_error_in_one_line_does_not_stop_the_others(tmp_path, capfd):
    show_log(level=logging.CRITICAL)
    with keep_log(tmp_path / "train.log"):
        logger.info("first")
        logger.handlers.clear()
        logger.info("one %d", 1)
    assert [line[20:] for line in (tmp_path / "train.log").read_text().splitlines()] == ["first", "one 1"]
    assert capfd.readouterr() == ("", "")
