"""The program: checks in child processes with time limits, exit statuses, and several processes."""

import json
import os
import subprocess
import sys

import pytest

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.rendezvous import connect_all
from resnet_jax.programs.command import Command
from resnet_jax.programs.doctor import hosts, main
from resnet_jax.programs.doctor.finding import ERROR, OK, SKIPPED, Finding, error, ok, skipped, warning
from tests.distributed.local_channels import process_specs, together
from tests.paths import ROOT

# Each check ends in another way; the time limit is that of the check that hangs.
PROGRAM = """
import os, signal, sys, time, json
from resnet_jax.errors import UsageError
from resnet_jax.programs.doctor.children import Check, findings, in_child
from resnet_jax.programs.doctor.finding import ok

def raises(error): raise error
checks = {
    "good": lambda: [ok("good", "all is well")],
    "hangs": lambda: time.sleep(60),
    "ignores": lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(60)),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exits": lambda: sys.exit(3),
    "leaves": lambda: os._exit(0),
    "usage": lambda: raises(UsageError("a mistake: its cure")),
    "raises": lambda: raises(RuntimeError("two\\nlines")),
    "prints": lambda: (print("noise"), [ok("prints", "x" * 200_000)])[1],
}
start = time.monotonic()
seconds = {"hangs": 0.2, "ignores": 0.2}
found = {name: findings(Check(name, run, seconds.get(name, 20.0), "do this")) for name, run in checks.items()}
print(json.dumps([found, time.monotonic() - start, "jax" in sys.modules]))
"""


def test_a_check_that_hangs_or_crashes_is_a_line(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    found, seconds, loads_jax = json.loads(done.stdout)
    lines = {name: Finding(*line) for name, (line,) in found.items()}
    assert seconds < 20 and not loads_jax
    assert lines["good"] == ok("good", "all is well")
    assert len(lines["prints"].text) == 200_000
    for name in ("hangs", "ignores"):
        assert lines[name] == error(name, "the check has not ended within 0.2 s", cure="do this")
    assert lines["usage"] == Finding(ERROR, "usage", "a mistake: its cure")
    words = {"crashes": "SIGSEGV", "exits": "SystemExit: 3", "leaves": "without an answer", "raises": "two lines"}
    for name, word in words.items():
        assert lines[name].level == "warning" and word in lines[name].text, name


def test_nothing_is_needed_and_nothing_is_written(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--mode=doctor"],
        cwd=tmp_path,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    subjects = [line.split()[0] for line in lines]
    assert done.returncode == 0, done.stdout + done.stderr
    assert subjects == [
        *("packages", "memory", "cores", "decoding", "disk", "/dev/shm", "limits", "clock", "host", "TensorFlow"),
        *("data", "workdir", "devices", "all-reduce", "result"),
    ]
    levels = dict(zip(subjects, (line[13:21].strip() for line in lines), strict=True))
    assert levels.pop("data") == SKIPPED and levels.pop("result")
    assert set(levels.values()) <= {OK, "warning"}
    assert "runs/doctor" not in done.stdout
    assert "2 devices sum 102 MB" in lines[-2]
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_exit_status_2(monkeypatch, tmp_path):
    found = iter([[ok("a", "fine")], [warning("b", "slow", cure="cure")], [error("c", "broken", cure="mend it")]])
    monkeypatch.setattr(main, "findings", lambda check: next(found, []))
    monkeypatch.setattr(main, "_process_id", lambda command: None)
    assert main.main(Command("doctor", None, str(tmp_path))) == 2
    found = iter([[warning("b", "slow", cure="cure")]])
    assert main.main(Command("doctor", None, str(tmp_path))) == 0


def test_several_processes_are_compared(tmp_path):
    def check(spec):
        number = spec.process_id
        own = [ok("a", "fine"), warning("b", "slow", cure="x"), skipped("d", f"no config in {number}")]
        own += [error("c", "broken", cure="y")] * number
        versions = {"jax": f"0.{number}", "python": "3.11"}
        with Channel(connect_all(spec, timeout=20), process_id=number) as channel:
            return hosts.together(channel, own, str(tmp_path / "new"), versions)

    first, second = together(check, process_specs(2))
    assert first == second
    levels = [finding.level for finding in first]
    text = "\n".join(finding.line() for finding in first)
    assert levels.count(ERROR) == 2 and "jax is 0.0 in " in text and "broken: y" in text
    assert "no config" not in text and "slow" not in text  # process 0 has it too, and has shown it
    assert f"all processes see {tmp_path}" in text and list(tmp_path.iterdir()) == []


def test_a_check_of_all_devices_that_hangs_ends_the_process():
    late = []
    found = hosts.with_time_limit("sum", lambda: late or [ok("sum", "done")], seconds=60, late=late.append)
    assert found == [ok("sum", "done")] and late == []

    def hang():
        while not late:
            pass
        return []

    hosts.with_time_limit("sum", hang, seconds=0.05, late=late.append)
    assert late[0].level == ERROR and "has not ended within 0.05 s" in late[0].text


@pytest.mark.parametrize("number", [1, 3])
def test_an_exception_of_a_check_of_all_devices_is_an_error(number):
    def fail():
        raise ValueError(f"rank {number}")

    (found,) = hosts.with_time_limit("sum", fail, seconds=60, late=print)
    assert found == Finding(ERROR, "sum", f"ValueError: rank {number}")
