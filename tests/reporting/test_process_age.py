import time
from pathlib import Path

import psutil
import pytest

from resnet_jax.reporting import time_accounting as module
from resnet_jax.reporting.time_accounting import process_age


def test_it_is_as_old_as_the_system_says():
    assert process_age() == pytest.approx(time.time() - psutil.Process().create_time(), abs=1.0)


def test_it_grows_with_the_clock():
    before, start = process_age(), time.monotonic()
    while time.monotonic() < start + 0.05:
        pass
    assert 0.04 < process_age() - before < 5.0


def test_where_the_system_does_not_say_it_is_nothing(monkeypatch):
    monkeypatch.setattr(module, "Path", lambda path: Path("/nowhere" + path))
    assert process_age() == 0.0
