"""Tests of the drill: what it requires after a kill, and a short drill."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from drill import __main__ as drill_program
from drill import comparison, disturbance, kills, leftovers, report, rules, ways
from drill.kills import Kill, Outcome
from drill.launch import cpu_environment
from drill.ledger import Ledger
from drill.moments import Pace
from drill.watching import PHASES, Watch
from tests.end_to_end import processes

SEED = 10  # of the short drill
KILL, TERM, STOP, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGHUP


def outcome(number=TERM, victims=(0,), phase="train", way="signal", *, statuses=(75, 75), outputs=("", ""), **met):
    """Observations of a start that was killed at step 47, and of the next start."""
    met = {"saved": 40, "saving": None, "step": 47, "resumed": 47, "seconds": 1.0} | met
    kill = Kill(1, phase, number, victims, moment=0.5, way=way)
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
        ({"number": HUP}, {"number": HUP, "statuses": (-1, 75)}),
        (
            {"number": HUP, "phase": "start", "statuses": (-1, 75)},
            {"number": HUP, "phase": "start", "statuses": (1, 75)},
        ),
        ({"number": HUP}, {"number": HUP, "resumed": 46}),
        ({"way": "group", "statuses": (75,)}, {"way": "group", "statuses": (143,)}),
        ({"way": "group", "phase": "start", "statuses": (143,)}, {"way": "group", "phase": "start", "statuses": (1,)}),
        ({"way": "stopped", "number": STOP, "statuses": (-9, 75)}, {"way": "stopped", "number": STOP}),
        (
            {"way": "stopped", "number": STOP, "statuses": (-9, 75), "resumed": 40},
            {"way": "stopped", "number": STOP, "statuses": (-9, None)},
        ),
        ({"way": "paused", "number": STOP}, {"way": "paused", "number": STOP, "resumed": 46}),
        ({"way": "worker", "number": KILL}, {"way": "worker", "number": KILL, "resumed": 40}),
        ({"way": "full disk", "statuses": (2, 75), "resumed": 40}, {"way": "full disk", "statuses": (75, 75)}),
        ({"way": "full disk", "statuses": (2, 2)}, {"way": "full disk", "statuses": (2, 0)}),
        (
            {"way": "damage", "number": KILL, "statuses": (-9, 75), "resumed": 30, "saved": 30},
            {"way": "damage", "number": KILL, "statuses": (-9, 75), "resumed": 29, "saved": 30},
        ),
        ({"leftovers": []}, {"leftovers": ["python main.py"]}),
        ({"failure": ""}, {"failure": "the run has no worker process"}),
    ],
)
def test_a_kill_may_cost_the_steps_since_the_last_checkpoint(good, bad):
    assert rules.problems(outcome(**good), interval=10) == []
    assert len(rules.problems(outcome(**bad), interval=10)) == 1


def test_an_unfinished_checkpoint_does_not_count():
    one = {"number": KILL, "statuses": (-9, 75), "step": 52, "saving": 50}
    assert rules.problems(outcome(**one, resumed=40), interval=10) == []
    assert rules.problems(outcome(**one, resumed=39), interval=10) == ["13 steps lost, 12 allowed"]


def test_the_times_of_kills_depend_on_the_seed():
    every = kills.kinds(2)
    drawn = kills.sample_kills(len(every), processes=2, seed=7)
    assert drawn == kills.sample_kills(len(every), processes=2, seed=7)
    assert drawn != kills.sample_kills(len(every), processes=2, seed=8)
    assert [kill.number for kill in drawn] == list(range(1, len(every) + 1))
    assert {(kill.way, kill.phase, kill.signal, kill.victims) for kill in drawn} == set(every)  # each kind once
    assert 0 < sum(kill.workers for kill in drawn) < len(drawn)
    assert all(kill.workers for kill in drawn if kill.way == "worker")
    assert disturbance.steps_for(drawn) % disturbance.EVAL_EVERY == 0


def test_every_way_phase_signal_and_process_is_killed():
    every = kills.kinds(2)
    assert {kind.way for kind in every} == set(kills.WAYS)
    of_signals = [kind for kind in every if kind.way == "signal"]
    assert {(kind.phase, kind.signal) for kind in of_signals} == {(p, s) for p in PHASES for s in (TERM, KILL, HUP)}
    assert {kind.victims for kind in of_signals} == {(0,), (1,), (0, 1)}
    assert {kind.victims for kind in kills.kinds(1)} == {(0,)}
    assert {kind.way for kind in kills.kinds(1)} == set(kills.WAYS) - {"stopped"}
    assert all(hasattr(ways._Way, way.replace(" ", "_")) for way in kills.WAYS)


def test_a_drill_that_was_interrupted_continues(tmp_path):
    plan = {"kills": 3, "seed": 0}
    ledger = Ledger(tmp_path / "drill", plan)
    assert ledger.pace is None and ledger.outcomes() == []
    ledger.set_pace(Pace(1.0, 2.0, 3.0))
    done = [outcome(victims=(0, 1), way="group", problems=["x"]), outcome(number=KILL, statuses=(-9, None))]
    for one in done:
        ledger.add(one)
    with (tmp_path / "drill" / "outcomes.jsonl").open("a") as file:
        file.write('{"kill": {"num')  # the drill was killed here
    again = Ledger(tmp_path / "drill", plan)
    assert again.pace == Pace(1.0, 2.0, 3.0)
    for one in done:
        one.outputs = []
    assert again.outcomes() == done
    again.add(done[0])
    assert again.outcomes() == [*done, done[0]]
    with pytest.raises(ValueError, match="holds a drill with other options"):
        Ledger(tmp_path / "drill", plan | {"seed": 1})


def test_the_newest_checkpoint_is_damaged_if_there_is_an_older_one(tmp_path):
    def checkpoint(step):
        path = tmp_path / str(step)
        (path / "meta").mkdir(parents=True)
        (path / "meta" / "metadata").write_text("{}")
        (path / "state").write_bytes(bytes(1000))
        return path

    def content(path):
        return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    assert ways.damage_newest(tmp_path, 0.0) is None
    first = checkpoint(10)
    assert ways.damage_newest(tmp_path, 0.0) == 10
    whole = content(first)
    for number, moment in enumerate((0.0, 0.25, 0.5, 0.75)):
        newest = checkpoint(20 + number)
        assert ways.damage_newest(tmp_path, moment) == (10 if number == 0 else 19 + number)
        assert not newest.exists() or content(newest) != whole
    assert content(first) == whole


def test_processes_of_a_start_and_their_children_are_found():
    program = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print(flush=True); time.sleep(60)"
    environment = {**cpu_environment(devices=1), leftovers.MARK: "some mark"}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    parent.stdout.readline()
    assert len(leftovers.marked("some mark")) == 2 and leftovers.marked("another") == {}
    parent.kill()
    parent.wait()
    assert leftovers.wait_until_gone("some mark", seconds=0) == ["sleep 60"]
    for number in leftovers.marked("some mark"):
        os.kill(number, KILL)
    assert leftovers.wait_until_gone("some mark", seconds=60) == []
    parent.stdout.close()


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
    assert re.search("SIGSTOP for 30 s", report.table([outcome(way="paused", number=STOP)]))


def test_the_summary_counts_kills_by_kind_and_phase():
    wrong = outcome(number=KILL, resumed=40, seconds=2.5, problems=["7 steps lost, 0 allowed"])
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in report.summary([outcome(), wrong, outcome(number=KILL, phase="save")]).splitlines()
    ]
    assert rows[0] == ["kill", *PHASES, "kills", "most steps lost", "all ended after at most", "problems"]
    assert {row[0]: row[1:] for row in rows[2:]} == {
        "SIGTERM": ["0", "0", "1", "0", "0", "1", "0", "1.0 s", "0"],
        "SIGKILL": ["0", "0", "1", "1", "0", "2", "7", "2.5 s", "1"],
        "all": ["0", "0", "2", "1", "0", "3", "7", "2.5 s", "1"],
    }


def drill(directory, *flags):
    command = [sys.executable, "-m", "drill", f"--workdir={directory}", *flags]
    done = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=False, timeout=900)
    return done, json.loads((directory / "drill.json").read_text())


@pytest.mark.slow  # test_resume.py kills a run of one process in every phase
def test_a_short_drill(tmp_path):
    # Each way once, with this seed in three phases; test_processes.py sends the signals to single processes.
    chosen = ["group", "full disk", "damage", "worker"]
    planned = kills.sample_kills(4, processes=2, seed=SEED, ways=chosen)
    assert {kill.way for kill in planned} == set(chosen)
    options = ["--kills=4", "--processes=2", f"--seed={SEED}", f"--ways={','.join(chosen)}"]
    done, record = drill(tmp_path / "drill", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["problems"] == []
    assert [kill["kill"]["number"] for kill in record["kills"]] == list(range(1, 5))
    assert "every bit of the state" in done.stdout


def test_a_drill_ends_if_the_program_changes(tmp_path):
    setting = disturbance.Setting(tmp_path, processes=1, devices=1, steps=40, deadline=1.0, program="of yesterday")
    with pytest.raises(disturbance.DrillError, match="have changed since the drill began"):
        next(disturbance.run_with_kills(setting, kills.sample_kills(1, processes=1, seed=0), Pace()))


def test_a_directory_that_is_not_empty_is_refused(tmp_path, capsys):
    (tmp_path / "precious").touch()
    with pytest.raises(SystemExit) as stopped:
        drill_program.main([f"--workdir={tmp_path}"])
    assert stopped.value.code == 2
    assert "is not empty: remove it, or name a new directory with --workdir" in capsys.readouterr().err
