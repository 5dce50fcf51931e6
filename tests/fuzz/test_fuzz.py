import sys
import types

import pytest
from hypothesis import strategies

from fuzz import __main__ as fuzzer
from fuzz.target import Target, damaged, silent


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzer, "_CACHE", tmp_path)
    monkeypatch.setattr(fuzzer, "_ROUND", 20)


@pytest.mark.parametrize("name", fuzzer.TARGETS)
def test_every_target_withstands_a_few_inputs(name, capsys):
    assert fuzzer.fuzz(name, seconds=0.2, seed=0)
    assert capsys.readouterr().out.startswith(f"{name}: withstood ")


def test_the_smallest_input_that_breaks_a_target_is_stored(tmp_path, monkeypatch, capsys):
    def check(data):
        assert b"\xff" not in data

    module = types.ModuleType("weak")
    module.TARGET = Target(strategies.binary, check)
    monkeypatch.setitem(sys.modules, "weak", module)
    monkeypatch.setitem(fuzzer.TARGETS, "weak", "weak")
    assert not fuzzer.fuzz("weak", seconds=60, seed=0)
    captured = capsys.readouterr()
    (path,) = tmp_path.glob("weak-*")
    assert path.read_bytes() == b"\xff"
    assert "AssertionError" in captured.err and "error: target weak broke after " in captured.out
    assert str(path) in captured.out


def test_an_unknown_target_is_refused(capsys):
    with pytest.raises(SystemExit):
        fuzzer.main(["nothing"])
    assert "'nothing' is not one of images" in capsys.readouterr().err


def test_output_of_a_target_is_a_fault(capfd):
    import os

    with silent():
        pass
    with pytest.raises(AssertionError, match="printed b'noise'"), silent():
        os.write(2, b"noise")
    assert capfd.readouterr() == ("", "")


def test_damaged_files_come_in_all_kinds():
    found = set()
    strategy = damaged([b"0123456789"])

    @fuzzer.hypothesis.settings(
        database=None, max_examples=200, suppress_health_check=list(fuzzer.hypothesis.HealthCheck)
    )
    @fuzzer.hypothesis.given(strategy)
    def collect(data):
        found.add((len(data) > 10) - (len(data) < 10))

    collect()
    assert found == {-1, 0, 1}
