"""--mode=sweep: which runs it has, what it continues, and its table."""

import csv
import json
import math
import os
import signal
import statistics
import sys
import threading
import time

import numpy as np
import pytest
from scipy import stats

from resnet_jax.errors import UsageError
from resnet_jax.experiment.sweep import make_sweep
from resnet_jax.programs.command import Command
from resnet_jax.programs.recipes import get_recipe
from resnet_jax.programs.sweep import main
from resnet_jax.programs.sweep.early_stop import is_behind
from resnet_jax.programs.sweep.process import Process
from resnet_jax.programs.sweep.runs import Run, cell_names, make_runs
from resnet_jax.programs.sweep.table import make_table, table_lines

GRID = ("optimizer.momentum=0.9,0.5", "train.trainable=None,head")


def recipe(**changes):
    config = get_recipe("digits")
    config.update_from_flattened_dict({"sweep.seeds": (0, 1), **changes})
    return config


def test_every_combination_of_the_grid_is_a_cell():
    sweep = make_sweep(recipe(**{"sweep.grid": GRID}))
    assert [tuple(cell.values()) for cell in sweep.cells] == [(0.9, None), (0.9, "head"), (0.5, None), (0.5, "head")]
    assert make_sweep(recipe()).cells == [{}] and cell_names([{}]) == ["base"]


def test_values_with_brackets_are_not_divided():
    sweep = make_sweep(recipe(**{"sweep.grid": ("data.train_crop.area=(0.5, 1.0),(0.25, 1.0)",)}))
    assert [cell["data.train_crop.area"] for cell in sweep.cells] == [(0.5, 1.0), (0.25, 1.0)]
    names = cell_names(sweep.cells)
    assert len(set(names)) == 2 and not any("/" in name or " " in name for name in names)


def test_a_file_has_the_grid_and_the_seeds(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text('seeds = [4, 5]\n[grid]\n"optimizer.momentum" = [0.9, 0.8]\nschedule.base_lr = [0.1]\n')
    sweep = make_sweep(recipe(**{"sweep.file": str(file)}))
    assert sweep.seeds == (4, 5)
    assert sweep.cells == [{"optimizer.momentum": value, "schedule.base_lr": 0.1} for value in (0.9, 0.8)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweep.grid": ("optimizer.momentom=1",)}, "the sweep has 'optimizer.momentom', which is not a key"),
        ({"sweep.grid": ("seed=1,2",)}, "set config.sweep.seeds"),
        ({"sweep.grid": ("optimizer.momentum",)}, "'optimizer.momentum' is not KEY=VALUE,VALUE"),
        ({"sweep.grid": ("optimizer.momentum=",)}, "no list of values for optimizer.momentum"),
        ({"sweep.grid": ("optimizer.momentum=2.0",)}, "config.optimizer.momentum=2.0 is out of range"),
        ({"sweep.grid": ("optimizer.momentum=high",)}, "the sweep sets optimizer.momentum to 'high'"),
        ({"sweep.grid": ("optimizer.momentum=None",)}, "config.optimizer.momentum=None: this key needs a value"),
        ({"sweep.seeds": (1, 1)}, "give different whole numbers"),
        ({"sweep.seeds": ()}, "give different whole numbers"),
        ({"sweep.file": "/nowhere.toml"}, "cannot be read (No such file or directory)"),
        ({"sweep.seeds": tuple(range(10_001))}, "10,001 runs are more than 10,000"),
    ],
)
def test_mistakes_are_found_before_the_first_run(changes, words):
    with pytest.raises(UsageError) as caught:
        make_sweep(recipe(**changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_gets_the_flags_of_the_sweep_and_its_own(tmp_path):
    words = ["--mode=sweep", "--config=digits", "--workdir", "runs/x", "--config.seed=7", "--config.data.batch_size=32"]
    sweep = make_sweep(recipe(**{"sweep.grid": ("optimizer.momentum=0.9,0.5",)}))
    runs = make_runs(sweep, tmp_path, [*words, "--config.sweep.grid=x", "--config.sweep.seeds", "(0,1)"])
    assert [(run.cell, run.seed) for run in runs] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    workdir = tmp_path / "momentum=0.5" / "seed-1"
    own = [f"--workdir={workdir}", "--config.optimizer.momentum=0.5", "--config.seed=1"]
    assert runs[-1].flags == ["--config=digits", "--config.data.batch_size=32", *own]


def write_result(workdir, top1, *, reason="completed", evaluations=()):
    workdir.mkdir(parents=True, exist_ok=True)
    result = {"step": 10, "total_steps": 10, "stop_reason": reason, "eval": {"count": 100, "top1": top1, "top5": None}}
    result["failed_step"] = 7 if reason == "non_finite" else None
    (workdir / "result.json").write_text(json.dumps(result))
    lines = [json.dumps({"step": step, "split": "eval", "top1": value}) + "\n" for step, value in evaluations]
    (workdir / "metrics.jsonl").write_text("".join(lines))


@pytest.fixture
def trained(monkeypatch):
    """Runs end at once; returns a function that says with which status, and the list of the runs that were trained."""
    done, statuses = [], {}

    def train(self, run, *, is_hopeless=None):
        name = str(run.workdir).split("/sweep/")[1]
        done.append(name)
        status = statuses.get(name, 0)
        if status in (0, 3):
            write_result(
                run.workdir, 0.9 - 0.1 * run.cell + 0.01 * run.seed, reason="completed" if not status else "non_finite"
            )
        self.stopped = status == 75
        return status

    monkeypatch.setattr(Process, "train", train)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["main.py", "--mode=sweep", "--config=digits"])
    return done, statuses


def sweep(tmp_path, **changes):
    config = recipe(**{"sweep.grid": ("optimizer.momentum=0.9,0.5",), **changes})
    return main.main(Command("sweep", config, str(tmp_path / "sweep")))


def test_a_sweep_that_was_stopped_continues_with_what_is_left(tmp_path, trained, capsys):
    done, statuses = trained
    statuses["momentum=0.9/seed-1"] = 75
    assert sweep(tmp_path) == 75
    assert done == ["momentum=0.9/seed-0", "momentum=0.5/seed-0", "momentum=0.9/seed-1"]
    printed = capsys.readouterr().out
    assert "run the same command again to continue" in printed
    assert "so far       not the final table, 2 runs have not ended\n" in printed and "\nsweep  " not in printed
    content = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert (content["runs"], content["ended"]) == (4, 2)
    done.clear(), statuses.clear()
    assert sweep(tmp_path) == 0 and done == ["momentum=0.9/seed-1", "momentum=0.5/seed-1"]
    printed = capsys.readouterr().out
    assert "so far" not in printed and "\nsweep  " in printed
    done.clear()
    assert sweep(tmp_path) == 0 and done == []
    content = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [row["n"] for row in content["rows"]] == [2, 2] and (content["runs"], content["ended"]) == (4, 4)
    assert content["rows"][0]["mean"] == pytest.approx(0.905)
    with (tmp_path / "sweep" / "table.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["momentum=0.9", "momentum=0.5"]


def test_a_run_is_one_line_unless_its_lines_are_asked_for(tmp_path, trained, capsys):
    _, statuses = trained
    statuses["momentum=0.5/seed-1"] = 3
    write_result(tmp_path / "sweep" / "momentum=0.9" / "seed-0", 0.9)
    assert sweep(tmp_path) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run")]
    assert lines == [
        "runs         4, of which 1 have ended; the lines of a run are in its train.log",
        "run          2 of 4: momentum=0.5/seed-0: top-1 80.00 % at step 10, 0:00",
        "run          3 of 4: momentum=0.9/seed-1: top-1 91.00 % at step 10, 0:00",
        "run          4 of 4: momentum=0.5/seed-1: the loss is not finite at step 7",
    ]
    assert sweep(tmp_path / "2", **{"sweep.print_log": True}) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run")]
    assert lines[:2] == [
        "run          1 of 4: momentum=0.9/seed-0",
        "run          1 of 4: momentum=0.9/seed-0: " + "top-1 90.00 % at step 10, 0:00",
    ]


def test_a_loss_that_is_not_finite_is_a_result_and_a_mistake_ends_the_sweep(tmp_path, trained):
    done, statuses = trained
    statuses["momentum=0.5/seed-0"] = 3
    assert sweep(tmp_path) == 0 and len(done) == 4
    content = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [row["n"] for row in content["rows"]] == [2, 1]
    assert content["not_finite"] == [str(tmp_path / "sweep" / "momentum=0.5" / "seed-0")]
    statuses["momentum=0.9/seed-0"] = 2
    with pytest.raises(UsageError, match="has ended with status 2: see its lines above"):
        sweep(tmp_path / "other")


def test_commands_are_printed_for_a_cluster(tmp_path, trained, capsys):
    done, _ = trained
    write_result(tmp_path / "sweep" / "momentum=0.9" / "seed-0", 0.9)
    assert sweep(tmp_path, **{"sweep.launch": "sbatch launch/slurm.sbatch"}) == 0 and done == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("sbatch launch/slurm.sbatch --config=digits") for line in lines)
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_the_table_agrees_with_scipy():
    rng = np.random.default_rng(0)
    first = dict(enumerate(rng.normal(0.8, 0.01, 5)))
    others = [{seed: value + rng.normal(0.01, 0.003) for seed, value in first.items()} for _ in range(2)]
    rows = make_table(["a", "b", "c"], [first, *others])
    assert rows[0].mean == pytest.approx(statistics.fmean(first.values())) and rows[0].difference is None
    assert rows[0].deviation == pytest.approx(np.std(list(first.values()), ddof=1))
    p = []
    for row, own in zip(rows[1:], others, strict=True):
        test = stats.ttest_rel(list(own.values()), list(first.values()))
        interval = test.confidence_interval(0.95)
        assert row.difference[:3] == pytest.approx((row.mean - rows[0].mean, interval.low, interval.high))
        p.append(test.pvalue)
    smaller, larger = sorted(p)
    assert sorted(row.p for row in rows[1:]) == pytest.approx([2 * smaller, max(2 * smaller, larger)])


def test_only_seeds_that_both_have_are_compared():
    rows = make_table(["a", "b", "c"], [{0: 0.8, 1: 0.9, 2: 0.7}, {1: 0.8, 2: 0.65, 5: 0.1}, {0: 0.5}])
    assert rows[1].pairs == 2 and rows[1].difference.value == pytest.approx(-0.075)
    assert rows[2].difference is None and rows[2].p is None
    lines = table_lines(rows)
    assert "needs at least two seeds run with both settings" in lines[3] and "not told apart" in lines[2]
    same = make_table(["a", "b"], [{0: 0.8, 1: 0.9}, {0: 0.7, 1: 0.8}])
    assert "-10.00 points, the same for every seed: no interval" in table_lines(same)[2]
    assert table_lines(make_table(["a", "b"], [{}, {}]))


def test_a_run_far_behind_the_worst_finished_run_is_hopeless(tmp_path):
    runs = [Run(number, 0, tmp_path / str(number), []) for number in range(3)]
    write_result(runs[0].workdir, 0.9, evaluations=[(5, 0.6), (10, 0.9)])
    write_result(runs[1].workdir, 0.8, evaluations=[(5, 0.5), (10, 0.8)])
    assert not is_behind(runs[2], runs, points=5)
    for top1, behind in ((0.46, False), (0.44, True), (math.nan, False)):
        write_result(runs[2].workdir, 0.0, reason="signal", evaluations=[(5, top1)])
        assert is_behind(runs[2], runs, points=5) == behind
    write_result(runs[2].workdir, 0.0, reason="signal", evaluations=[(7, 0.0)])  # no other run has this step
    assert not is_behind(runs[2], runs, points=5)


CHILD = """
import signal, sys, time
def stop(*_): print("saved", flush=True); sys.exit(75)
signal.signal(signal.SIGTERM, stop)
open(sys.argv[2], "w").close()
time.sleep(60)
"""


@pytest.fixture
def process(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Process((sys.executable, "-IS", "-c", CHILD)), Run(0, 0, tmp_path, [str(tmp_path / "started")])
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("print_log", [False, True])
def test_errors_of_a_run_are_always_printed_and_other_lines_if_asked_for(tmp_path, capfd, process, print_log):
    program = (sys.executable, "-IS", "-c", "import sys; print('a line'); sys.exit('error: a mistake')")
    assert Process(program, print_log=print_log).train(Run(0, 0, tmp_path, [])) == 1
    printed = capfd.readouterr()
    assert printed.out == ("a line\n" if print_log else "") and printed.err == "error: a mistake\n"


def test_a_hopeless_run_is_saved_and_stopped(process, tmp_path):
    training, run = process
    assert training.train(run, is_hopeless=(tmp_path / "started").exists) == 75
    assert not training.stopped


def test_a_signal_is_passed_on(process, tmp_path):
    training, run = process

    def send():
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    assert training.train(run) == 75 and training.stopped
    thread.join()
