"""The processes of a run stop together, save together, and report what is wrong with one of them."""

import signal
import time

import pytest

from drill.launch import free_port
from drill.watching import Watch
from resnet_jax.distributed.rendezvous import ProcessSpec, connect_all
from tests.end_to_end import processes

CONFIG = "configs/digits.py"
EVAL_EVERY = 30

# One image per device and evaluation batch, so that the evaluation lasts long enough to be signalled.
LONG = processes.SMALL | {"train.total_steps": 3000, "eval.batch_size": 2, "log.every_steps": 1}


def outputs(run):
    """Returns the end of the output of each process."""
    return "\n".join(f"process {number}:\n{run.output(number)[-2000:]}" for number in range(len(run.statuses())))


def no_traceback(run):
    return not any("Traceback" in run.output(number) for number in range(len(run.statuses())))


def said(run, number):
    """Returns the lines that a process printed, without the messages of Gloo."""
    return [line for line in run.output(number).splitlines() if line and not line.startswith("[Gloo]")]


def wait_until(condition, run, seconds=120):
    """Polls until the condition holds: it depends on other processes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert set(run.statuses()) == {None}, outputs(run)
        assert time.monotonic() < deadline, outputs(run)
        time.sleep(0.002)


def signal_in(phase, run, watch, number, victim):
    """Signals one process in a phase; all processes are paused (SIGSTOP) until the signal is sent."""

    def there():
        return watch.phase == phase and (phase == "compile" or watch.step > 0)  # before the first step nothing is saved

    while True:
        wait_until(there, run)
        run.freeze()
        if there():
            break
        run.thaw()
    run.send(number, [victim])
    run.thaw()


def finish_from(workdir, data_dir, step):
    """Continues the run with one process until shortly after `step`."""
    changes = LONG | {"train.max_steps": step + 5}
    with processes.start_several(CONFIG, workdir, data_dir, changes, count=1, devices=2) as run:
        assert run.wait(120) == [0], outputs(run)
        assert f"from step {step} of" in run.output(0)


def test_two_processes_are_one_run(tmp_path, data_dir):
    changes = processes.SMALL | {"train.total_steps": 4, "checkpoint.every_steps": 2}
    with processes.start_several(CONFIG, tmp_path / "run", data_dir, changes, count=2) as run:
        assert run.wait(120) == [0, 0], outputs(run)
        assert "Finished     step 4 of 4" in run.stdout(0)
        assert "2 x cpu of 2 processes" in run.stdout(0)
        assert said(run, 1) == []  # only process 0 prints
    assert processes.read_result(tmp_path / "run")["eval"]["count"] == 360
    assert [line["step"] for line in processes.read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 4]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "victim"), [("compile", 1), ("train", 1), ("evaluation", 1), ("save", 0)])
def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path, data_dir, phase, victim):
    workdir = tmp_path / "run"
    watch = Watch(workdir, eval_every=EVAL_EVERY)
    with processes.start_several(CONFIG, workdir, data_dir, LONG, count=2) as run:
        signal_in(phase, run, watch, signal.SIGTERM, victim)
        begin = time.monotonic()
        assert run.wait(60) == [75, 75], outputs(run)
        assert time.monotonic() - begin < 30
        assert no_traceback(run)
    if phase == "compile":
        assert watch.saved in (None, 0)
        return
    result = processes.read_result(workdir)  # test_topologies.py continues such a run
    assert result["stop_reason"] == "signal"
    assert watch.saved == result["step"] >= watch.step  # no reported step is lost


@pytest.mark.slow
def test_a_save_request_does_not_stop_the_run(tmp_path, data_dir):
    workdir = tmp_path / "run"
    watch = Watch(workdir, eval_every=EVAL_EVERY)
    changes = LONG | {"eval.every_steps": 3000, "checkpoint.every_steps": 3000}
    with processes.start_several(CONFIG, workdir, data_dir, changes, count=2) as run:
        wait_until(lambda: watch.step >= 3, run)
        run.send(signal.SIGUSR1, [1])
        wait_until(lambda: watch.saved is not None, run)
        saved = watch.saved
        assert 3 <= saved < 3000
        wait_until(lambda: watch.step > saved + 3, run)
        run.send(signal.SIGTERM, [0])
        assert run.wait(60) == [75, 75], outputs(run)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_others_with_one_line(tmp_path, data_dir, victim):
    workdir = tmp_path / "run"
    watch, other = Watch(workdir, eval_every=EVAL_EVERY), 1 - victim
    with processes.start_several(CONFIG, workdir, data_dir, LONG, count=2) as run:
        wait_until(lambda: watch.step > 15, run)
        run.send(signal.SIGKILL, [victim])
        statuses = run.wait(60)
        assert (statuses[victim], statuses[other]) == (-signal.SIGKILL, 75), outputs(run)
        assert no_traceback(run)
        # JAX may also print messages when process 0 is lost.
        (line,) = [line for line in said(run, other) if "is gone: start all processes again" in line]
        assert line.startswith(f"process {victim} (")
    assert watch.saved >= 10
    finish_from(workdir, data_dir, watch.saved)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_stopped_ends_the_others_with_one_line(tmp_path, data_dir, victim):
    workdir = tmp_path / "run"
    watch, other = Watch(workdir, eval_every=EVAL_EVERY), 1 - victim
    flags = ["--stall_timeout=5"]
    with processes.start_several(CONFIG, workdir, data_dir, LONG, count=2, flags=flags) as run:
        wait_until(lambda: watch.step > 15, run)
        run.send(signal.SIGSTOP, [victim])
        time.sleep(2)  # less than the limit: both continue
        run.send(signal.SIGCONT, [victim])
        before = watch.step
        wait_until(lambda: watch.step > before + 10, run)
        run.send(signal.SIGSTOP, [victim])
        deadline = time.monotonic() + 40
        while run.statuses()[other] is None:
            assert time.monotonic() < deadline, outputs(run)
            time.sleep(0.05)
        run.send(signal.SIGCONT, [victim])  # it finds that the other has ended
        assert run.wait(60) == [75, 75], outputs(run)
        assert no_traceback(run)
        (line,) = [line for line in said(run, other) if "start all processes again" in line]
        assert line.startswith(f"process {victim} (") and "it stood still for 5 s" in line
    finish_from(workdir, data_dir, watch.saved)


@pytest.mark.slow
@pytest.mark.parametrize("real", [0, 1])
def test_a_process_that_dies_before_jax_knows_of_it(tmp_path, data_dir, real):
    """The test acts as the second process: it connects, and disconnects before JAX has connected."""
    at, *_ = flags = process_flags(real, count=2)[0]
    spec = ProcessSpec(at.partition("=")[2], 2, 1 - real)
    with processes.start_several(CONFIG, tmp_path / "run", data_dir, LONG, count=1, own_flags=[flags]) as run:
        for connection in connect_all(spec, timeout=60).sockets.values():
            connection.close()
        assert run.wait(30) == [75], outputs(run)
        (line,) = said(run, 0)
        assert f"process {1 - real} (" in line and "is gone: start all processes again" in line


def mistake(workdir, data_dir, *, own_flags, changes=None, status=2):
    """Starts processes that cannot form a run; returns the last line of each."""
    changes, count = processes.SMALL | (changes or {}), len(own_flags)
    with processes.start_several(
        CONFIG, workdir, data_dir, changes, count=count, own_flags=own_flags, flags=["--join_timeout=20"]
    ) as run:
        assert run.wait(120) == [status] * count, outputs(run)
        assert no_traceback(run)
        lines = [said(run, number) for number in range(count)]
    assert all(len(of_one) == 1 and of_one[0].startswith("error: ") for of_one in lines), lines
    assert not list(workdir.glob("checkpoints/*"))
    return [of_one[0] for of_one in lines]


def process_flags(*numbers, count):
    """Returns the flags of processes that connect at a free port."""
    at = f"--coordinator=localhost:{free_port()}"
    return [[at, f"--num_processes={count}", f"--process_id={number}"] for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("present", "message"),
    [(0, "process 1 of 2 did not connect within 3 s"), (1, "process 0 of 2 cannot be reached at localhost:")],
)
def test_a_process_that_does_not_join_in_time(tmp_path, data_dir, present, message):
    (flags,) = process_flags(present, count=2)
    (line,) = mistake(tmp_path / "run", data_dir, own_flags=[[*flags, "--join_timeout=3"]], status=75)
    assert message in line


@pytest.mark.slow
def test_another_config_in_one_process(tmp_path, data_dir):
    first, second = process_flags(0, 1, count=2)
    lines = mistake(tmp_path / "run", data_dir, own_flags=[first, [*second, "--config.seed=1"]])
    assert all("seed: 0 there, 1 here" in line for line in lines)
    assert all("process 1 (" in line and "the same command" in line for line in lines)


@pytest.mark.slow
def test_another_work_directory_in_one_process(tmp_path, data_dir):
    first, second = process_flags(0, 1, count=2)
    other = tmp_path / "other"
    lines = mistake(tmp_path / "run", data_dir, own_flags=[first, [*second, f"--workdir={other}"]])
    assert all(f"work directory {other} of process 1" in line and str(tmp_path / "run") in line for line in lines)


@pytest.mark.slow
def test_two_processes_with_the_same_id(tmp_path, data_dir):
    lines = mistake(tmp_path / "run", data_dir, own_flags=process_flags(0, 1, 1, count=3))
    assert all("two processes have --process_id=1" in line for line in lines)


@pytest.mark.slow
def test_a_process_id_out_of_range(tmp_path, data_dir):
    (line,) = mistake(tmp_path / "run", data_dir, own_flags=process_flags(2, count=2))
    assert "--process_id=2 is not one of 0 to 1" in line
