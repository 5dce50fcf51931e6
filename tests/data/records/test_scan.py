import sys
import threading

import pytest

from resnet_jax.data.records import scan as scan_module
from resnet_jax.data.records.scan import scan


def test_results_come_in_order_from_many_threads():
    together = threading.Barrier(8)

    def look(item):
        together.wait(timeout=60)  # returns only if eight threads run at once
        return item * item

    assert scan(look, range(16), title="squares") == [item * item for item in range(16)]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals(terminal, capsys, monkeypatch):
    tqdm = scan_module.tqdm
    monkeypatch.setattr(scan_module, "tqdm", lambda *args, **options: tqdm(*args, **{**options, "delay": 0}))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    scan(str, range(7), title="letters")
    assert ("letters" in capsys.readouterr().err) == terminal


def test_the_first_error_is_raised():
    def look(item):
        if item in (3, 5):
            raise ValueError(f"item {item} is odd")

    with pytest.raises(ValueError, match="item 3 is odd"):
        scan(look, range(100), title="errors")
    assert scan(look, [], title="nothing") == []
