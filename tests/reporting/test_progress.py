import io
import logging
import sys

import pytest

from resnet_jax.reporting.progress import keep_log, show_log


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
