"""Tests of the drill: what it requires after a kill, and a short drill."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from drill import __main__ as drill_program
from drill import comparison, disturbance, kills, report
from drill.kills import Kill, Outcome
from drill.watching import PHASES, Watch
from tests.end_to_end import processes

KILL, TERM = signal.SIGKILL, signal.SIGTERM


def outcome(number=TERM, victims=(0,), phase="train", *, statuses=(75, 75), outputs=("", ""), **met):
    """Observations of a start that was killed at step 47, and of the next start."""
    met = {"saved": 40, "saving": None, "step": 47, "resumed": 47, "seconds": 1.0} | met
    kill = Kill(1, phase, number, victims, moment=0.5)
    return Outcome(kill, phase, statuses=list(statuses), outputs=list(outputs), **met)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"resumed": 48}, {"resumed": 46}),  # after SIGTERM no step may be lost
        ({"statuses": (75, 75)}, {"statuses": (75, 0)}),
        ({"statuses": (75, 75)}, {"statuses": (-15, 75)}),
        ({"phase": "start", "statuses": (-15, 75)}, {"phase": "start", "statuses": (1, 75)}),
        ({"phase": "start", "statuses": (75, 75)}, {"phase": "start", "statuses": (75, 2)}),
        ({"phase": "start", "statuses": (-15, 75)}, {"phase": "start", "statuses": (2, 75)}),
        ({"number": KILL, "statuses": (-9, 75), "resumed": 37}, {"number": KILL, "statuses": (-9, 75), "resumed": 36}),
        ({"number": KILL, "statuses": (-9, 75)}, {"number": KILL, "statuses": (-9, -6)}),
        ({"number": KILL, "statuses": (-9, 75)}, {"number": KILL, "statuses": (-9, 2)}),
        ({"number": KILL, "statuses": (-9, -9), "victims": (0, 1)}, {"number": KILL, "statuses": (-9, -9)}),
        ({"outputs": ("", "Stopped")}, {"outputs": ("", "Traceback (most recent call last)")}),
    ],
)
def test_a_kill_may_cost_the_steps_since_the_last_checkpoint(good, bad):
    assert kills.problems(outcome(**good), interval=10) == []
    assert len(kills.problems(outcome(**bad), interval=10)) == 1


def test_an_unfinished_checkpoint_does_not_count():
    one = {"number": KILL, "statuses": (-9, 75), "step": 52, "saving": 50}
    assert kills.problems(outcome(**one, resumed=40), interval=10) == []
    assert kills.problems(outcome(**one, resumed=39), interval=10) == ["13 steps lost, 12 allowed"]


def test_the_times_of_kills_depend_on_the_seed():
    drawn = kills.sample_kills(30, processes=2, seed=7)
    assert drawn == kills.sample_kills(30, processes=2, seed=7) != kills.sample_kills(30, processes=2, seed=8)
    assert [kill.number for kill in drawn] == list(range(1, 31))
    kinds = {(kill.phase, kill.signal, kill.victims) for kill in drawn}
    assert len(kinds) == 30  # 30 kills of two processes: each kind once
    assert {phase for phase, _, _ in kinds} == set(PHASES) and {victims for _, _, victims in kinds} == {
        (0,),
        (1,),
        (0, 1),
    }
    assert len({(kill.phase, kill.signal) for kill in kills.sample_kills(10, processes=1, seed=7)}) == 10
    assert disturbance.steps_for(drawn) % disturbance.EVAL_EVERY == 0


def test_phases_are_recognised_by_what_is_written(tmp_path):
    (tmp_path / "train.log").write_text("2026-01-01 step      80/90 of an earlier start\n")
    watch, log, checkpoints = (
        Watch(tmp_path, eval_every=40),
        (tmp_path / "train.log").open("a"),
        tmp_path / "checkpoints",
    )
    (checkpoints / "30").mkdir(parents=True)

    def add(line):
        log.write(f"2026-01-01 00:00:00 {line}\n")
        log.flush()

    assert (watch.phase, watch.step, watch.continued_from) == ("start", 30, None)
    add("continuing   from step 30 of 90")
    assert (watch.phase, watch.continued_from) == ("compile", 30)
    add("compiled     in 1.0 s")
    assert (watch.phase, watch.step) == ("train", 30)
    add("step      39/90  epoch   1.0")
    assert (watch.phase, watch.step) == ("train", 39)
    add("step      40/90  epoch   1.0")
    assert watch.phase == "evaluation"
    add("eval      40/90  loss 1.0")
    assert (watch.phase, watch.saved, watch.saving) == ("train", 30, None)
    (checkpoints / "20.orbax-checkpoint-tmp").mkdir()  # being removed
    assert (watch.phase, watch.saving) == ("train", None)
    (checkpoints / "40.orbax-checkpoint-tmp").mkdir()
    assert (watch.phase, watch.saved, watch.saving) == ("save", 30, 40)
    log.close()


def test_a_start_at_an_evaluated_checkpoint_does_not_evaluate(tmp_path):
    meta, log = tmp_path / "checkpoints" / "40" / "meta" / "metadata", tmp_path / "train.log"
    meta.parent.mkdir(parents=True)
    watch = Watch(tmp_path, eval_every=40)
    log.write_text("10:00 continuing   from step 40 of 90\n10:01 compiled     in 1.0 s\n")
    for evaluation, phase in ((None, "evaluation"), ({"top1": 0.5}, "train")):
        meta.write_text(json.dumps({"evaluation": evaluation}))
        assert watch.phase == phase


def test_states_are_compared_bit_for_bit():
    state = {"params": {"kernel": np.ones(3, np.float32), "bias": np.zeros(2, np.float32)}}
    other = {"params": {"kernel": np.ones(3, np.float32), "bias": np.array([0.0, -0.0], np.float32)}}
    assert comparison.state_differences(state, state) == []
    (difference,) = comparison.state_differences(state, other)
    assert "1 arrays" in difference and "bias" in difference
    assert comparison.state_differences(state, {"params": {"kernel": np.ones(3, np.float32)}})


def test_metrics_are_compared_line_by_line():
    lines = [{"step": 1, "split": "train", "loss": 2.0}, {"step": 2, "split": "train", "loss": 1.0}]
    assert comparison.metric_differences(lines, [dict(line) for line in lines]) == []
    assert "each once" in comparison.metric_differences([lines[0], *lines], lines)[0]
    assert "the first is (2, 'train')" in comparison.metric_differences(lines, [lines[0], lines[1] | {"loss": 1.1}])[0]


def test_the_table_counts_kills_by_phase():
    text = report.table([outcome(), outcome(number=KILL, statuses=(-9, 75), resumed=40)])
    assert len({len(line) for line in text.splitlines()}) == 1
    assert re.search(r"\| SIGKILL \| process 0 \| -9, 75 +\|", text)
    assert "at most 7 steps lost" in "\n".join(report.summary([outcome(number=KILL, resumed=40)]))


def drill(directory, *flags):
    command = [sys.executable, "-m", "drill", f"--workdir={directory}", *flags]
    done = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=False, timeout=900)
    return done, json.loads((directory / "drill.json").read_text())


@pytest.mark.slow  # test_resume.py kills a run of one process in every phase
def test_a_short_drill(tmp_path):
    # With this seed each phase is killed once, by both signals, in process 0, in process 1, and in both.
    planned = kills.sample_kills(5, processes=2, seed=30)
    assert {kill.phase for kill in planned} == set(PHASES) and {kill.signal for kill in planned} == {KILL, TERM}
    assert {kill.victims for kill in planned} == {(0,), (1,), (0, 1)}
    done, record = drill(tmp_path / "drill", "--kills=5", "--processes=2", "--seed=30")
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["problems"] == []
    assert [kill["number"] for kill in record["kills"]] == list(range(1, 6))
    assert all(kill["lost"] == 0 for kill in record["kills"] if kill["signal"] == "SIGTERM")
    assert len({kill["phase"] for kill in record["kills"]}) >= 3
    assert "every bit of the state" in done.stdout


def test_a_directory_that_is_not_empty_is_refused(tmp_path, capsys):
    (tmp_path / "precious").touch()
    with pytest.raises(SystemExit) as stopped:
        drill_program.main([f"--workdir={tmp_path}"])
    assert stopped.value.code == 2
    assert "is not empty: remove it, or name a new directory with --workdir" in capsys.readouterr().err
