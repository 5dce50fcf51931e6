"""Runs in buckets, against storage emulators: kills, other machines, all modes, two processes, S3."""

import signal
import time

import pytest

from drill.comparison import differences
from drill.disturbance import RECIPE
from drill.launch import Processes, cpu_environment, free_port
from drill.watching import Watch
from resnet_jax.storage.mirror import Mirror
from tests.end_to_end import processes
from tests.storage import emulators

pytestmark = pytest.mark.slow  # tests/storage tests the same without networks and emulators
STEPS = 240
SIZES = {"data.image_size": 12, "model.features": 4, "train.total_steps": STEPS}
ADDRESS = f"gs://{emulators.BUCKET}/runs/drill"
# Signal, moment, and whether the run continues on another machine.
KILLS = [
    (signal.SIGKILL, "save", False),
    (signal.SIGTERM, "train", False),
    (signal.SIGKILL, "upload", True),
    (signal.SIGTERM, "save", True),
    (signal.SIGKILL, "train", True),
]


@pytest.fixture
def server(tmp_path):
    (tmp_path / "objects").mkdir()
    with emulators.google_storage(tmp_path / "objects") as variables:
        yield variables


class Machine:
    """A machine with a disk of its own, on which processes of a run are started."""

    def __init__(self, disk, data_dir, variables, monkeypatch):
        self.disk, self._data_dir, self._variables = disk, data_dir, variables
        for name, value in (variables | {"XDG_CACHE_HOME": str(disk)}).items():
            monkeypatch.setenv(name, value)
        self.address = ADDRESS if "STORAGE_EMULATOR_HOST" in variables else ADDRESS.replace("gs://", "s3://")
        self.mirror = Mirror(self.address)

    def start(self, name, flags=(), *, changes=None, workdir=None, config="--config=configs/digits.py"):
        settings = RECIPE | SIZES | (changes or {})
        keys = [f"--config.{key}={value}" for key, value in settings.items()] if config else []
        return Processes(
            [*filter(None, [config]), f"--workdir={workdir or self.address}", *keys, *flags],
            count=1,
            outputs=self.disk / "outputs" / name,
            environment=cpu_environment(
                devices=1,
                TFDS_DATA_DIR=self._data_dir,
                JAX_COMPILATION_CACHE_DIR=self._data_dir / "cache",
                JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
                JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
                XDG_CACHE_HOME=self.disk,
                **self._variables,
            ),
        )

    def complete(self, name, flags=(), **options):
        with self.start(name, flags, **options) as started:
            assert started.wait(600.0) == [0], started.output(0)
            return started.output(0)


def uploaded(objects):
    """The steps of the checkpoints with a marker in the bucket."""
    return {int(path.parent.name) for path in objects.glob("checkpoints/*/.complete")}


def freeze_when(condition, started):
    """Pauses the process at a moment at which the condition holds, and still holds when it is paused."""
    while True:
        while not condition():
            assert started.statuses() == [None], started.output(0)
            time.sleep(0.0005)
        started.freeze()
        if condition():
            return
        started.thaw()


def test_kills_lose_nothing_that_is_in_the_bucket(tmp_path, data_dir, server, monkeypatch):
    objects = tmp_path / "objects" / ADDRESS.removeprefix("gs://")
    machine = Machine(tmp_path / "machine-0", data_dir, server, monkeypatch)
    machine.complete("undisturbed", workdir=tmp_path / "undisturbed")
    expected = 0  # the step from which the next start has to continue, or a later one
    for number, (kill, moment, moves) in enumerate(KILLS, 1):
        watch = Watch(machine.mirror.path, eval_every=40)

        def due(watch=watch, moment=moment):
            progress = watch.step - (watch.continued_from or 0) if watch.compiled else 0
            if moment == "upload":
                steps = {int(path.name) for path in objects.glob("checkpoints/*")}
                return progress > 0 and bool(steps - uploaded(objects))
            return progress > 5 and (moment == "train" or watch.saving is not None)

        with machine.start(f"kill-{number}") as started:
            freeze_when(due, started)
            started.send_to_groups(kill)
            started.thaw()
            assert started.wait(200.0) == [75 if kill == signal.SIGTERM else -signal.SIGKILL], started.output(0)
            assert "Traceback" not in started.output(0)
        assert watch.continued_from >= expected, f"kill {number}"
        in_bucket = max(uploaded(objects), default=0)
        if kill == signal.SIGTERM:
            assert in_bucket == max(int(path.name) for path in (machine.mirror.path / "checkpoints").glob("*"))
        expected = in_bucket if moves else max(in_bucket, watch.saved or 0)
        if moves:
            machine = Machine(tmp_path / f"machine-{number}", data_dir, server, monkeypatch)
            machine.mirror.pull()  # with the log of the earlier starts, which the next `Watch` skips
    machine.complete("last")
    looked_at = Machine(tmp_path / "another", data_dir, server, monkeypatch).mirror
    looked_at.pull()
    assert differences(looked_at.path, tmp_path / "undisturbed", step=STEPS) == []


def test_all_modes_on_another_machine_and_damage_in_the_bucket(tmp_path, data_dir, server, monkeypatch):
    objects = tmp_path / "objects" / ADDRESS.removeprefix("gs://")
    changes = processes.SMALL | {"train.max_steps": 40}
    Machine(tmp_path / "first", data_dir, server, monkeypatch).complete("train", changes=changes)
    machine = Machine(tmp_path / "second", data_dir, server, monkeypatch)
    for mode in ("eval", "export", "plan"):
        machine.complete(mode, [f"--mode={mode}"], config=None)
    image = next(data_dir.parent.rglob("*.png"), None) or machine.mirror.path / "report.png"
    assert "%" in machine.complete("predict", ["--mode=predict", str(image)], config=None)
    assert len(list(objects.glob("evaluations/*/certificate.json"))) == 1
    assert len(list(objects.glob("exports/40/model.jax"))) == 1
    warm = ["--mode=plan", f"--config.model.init_from={machine.address}", "--config.model.init_head=True"]
    machine.complete("warm", warm, workdir=tmp_path / "other", changes=processes.SMALL)
    largest = max((path for path in (objects / "checkpoints" / "40").rglob("*")), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    third = Machine(tmp_path / "third", data_dir, server, monkeypatch)
    output = third.complete("continue", ["--config.train.max_steps=None"], config=None)
    assert "checkpoint 30 is used instead" in output and "60/60" in output
    assert list(objects.glob("damaged_checkpoints/40/meta/metadata"))
    assert uploaded(objects) >= {60} and 40 not in uploaded(objects) - {40}


def test_two_machines_that_share_no_disk(tmp_path, data_dir, server, monkeypatch):
    machines = [Machine(tmp_path / name, data_dir, server, monkeypatch) for name in ("a", "b")]
    for limit in (20, 40):
        flags = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
        changes = processes.SMALL | {"train.max_steps": limit}
        first, second = (
            machine.start(f"{limit}", [*flags, f"--process_id={number}"], changes=changes)
            for number, machine in enumerate(machines)
        )
        with first, second:
            assert first.wait(300.0) == second.wait(300.0) == [0], first.output(0) + second.output(0)
    assert "continuing   from step 20" in first.output(0)
    assert (machines[1].mirror.path / "checkpoints" / "20").is_dir()


def test_s3(tmp_path, data_dir, monkeypatch):
    with emulators.s3() as variables:
        first = Machine(tmp_path / "first", data_dir, variables, monkeypatch)
        assert first.address.startswith("s3://")
        first.complete("train", changes=processes.SMALL | {"train.max_steps": 20})
        machine = Machine(tmp_path / "second", data_dir, variables, monkeypatch)
        assert "from step 20" in machine.complete("more", changes=processes.SMALL)
        refused = Machine(tmp_path / "third", data_dir, variables, monkeypatch)
        refused.mirror.pull()
        assert processes.read_result(refused.mirror.path)["stop_reason"] == "completed"
