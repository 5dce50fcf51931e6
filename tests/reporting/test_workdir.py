import json

import pytest

from resnet_jax import experiment
from resnet_jax.configs import default, digits
from resnet_jax.errors import UsageError
from resnet_jax.nested import difference, flatten
from resnet_jax.reporting.workdir import Workdir

SETTINGS = {"seed": 0, "model": {"depth": 50}, "log": {"every_steps": 100}}


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path / "a" / "b")
    with made.lock():
        made.check(SETTINGS, may_change=("log",))
        yield made


def save(workdir):
    """Puts something there that looks like a checkpoint."""
    (workdir.checkpoints / "3").mkdir(parents=True)


def test_a_start_is_recorded_and_the_next_one_added(workdir):
    workdir.record_start(SETTINGS, {"start_step": 0}, class_names=["a"])
    workdir.record_start(SETTINGS, {"start_step": 7}, class_names=["a"])
    assert json.loads((workdir.path / "config.json").read_text()) == SETTINGS
    assert json.loads((workdir.path / "run.json").read_text()) == {"starts": [{"start_step": 0}, {"start_step": 7}]}


def test_the_classes_are_written_down_and_checked(workdir):
    workdir.check_classes(["b"])  # nothing here yet
    workdir.record_start(SETTINGS, {}, class_names=("a", "c"))
    workdir.check_classes(["b"])  # nothing that could be continued
    save(workdir)
    workdir.check_classes(("a", "c"))
    with pytest.raises(UsageError, match=f"the run in {workdir.path} has another list of classes than the data"):
        workdir.check_classes(["a", "b"])


def test_checking_writes_nothing(workdir):
    assert [path.name for path in workdir.path.iterdir()] == [".lock"]


def test_two_processes_cannot_share_it(workdir):
    with (
        pytest.raises(UsageError, match=f"another process is at work in work directory {workdir.path}"),
        Workdir(workdir.path).lock(),
    ):
        pass


def test_a_lock_is_free_again_after_use(tmp_path):
    for _ in range(2):
        with Workdir(tmp_path).lock():
            pass


def test_an_address_is_not_taken_for_a_directory():
    with pytest.raises(UsageError, match="--workdir=abfs://bucket/run is not a local path"):
        Workdir("abfs://bucket/run")


def test_a_work_directory_in_a_bucket_has_a_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    workdir, other = Workdir("gs://bucket//run/"), Workdir("s3://bucket/run")
    assert workdir.mirror.address == "gs://bucket/run"
    assert workdir.path == workdir.mirror.path != other.path
    assert workdir.path.is_relative_to(tmp_path) and workdir.path.name == "run"
    assert not list(tmp_path.iterdir())


def test_another_config_is_an_error_that_shows_the_difference(workdir):
    workdir.record_start(SETTINGS, {}, class_names=["a"])
    other = {"seed": 1, "model": {"depth": 18}, "log": {"every_steps": 10}}
    workdir.check(other, may_change=("log",))  # a start that came to nothing binds nobody
    save(workdir)
    workdir.check(SETTINGS, may_change=())
    with pytest.raises(UsageError, match=r"\(model.depth: 50 there, 18 here; seed: 0 there, 1 here\): choose another"):
        workdir.check(other, may_change=("log",))


def test_some_keys_may_change(workdir):
    workdir.record_start(SETTINGS, {}, class_names=["a"])
    save(workdir)
    workdir.check(SETTINGS | {"log": {"every_steps": 7}}, may_change=("log",))
    with pytest.raises(UsageError, match="log.every_steps"):
        workdir.check(SETTINGS | {"log": {"every_steps": 7}}, may_change=("lo", "log.every"))


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_what_it_did_not_know(workdir):
    defaults = experiment.resolve(default.get_config())
    settings = experiment.resolve(digits.get_config())
    older = json.loads(json.dumps(settings))
    del older["benchmark"], older["model"]["allow_missing"], older["train"]["freeze_statistics"]
    workdir.record_start(older, {}, class_names=["a"])
    save(workdir)
    workdir.check(settings, may_change=(), defaults=defaults)
    with pytest.raises(UsageError, match="model.allow_missing: absent there"):
        workdir.check(settings, may_change=())
    settings["train"]["freeze_statistics"] = False
    with pytest.raises(UsageError, match=r"\(train.freeze_statistics: True there, False here\)"):
        workdir.check(settings, may_change=(), defaults=defaults)
    older["model"]["depth"] = 14  # not a default, and not absent
    older["gone"] = 1
    workdir.record_start(older, {}, class_names=["a"])
    with pytest.raises(UsageError, match=r"\(gone: 1 there, absent here; model.depth: 14 there, 8 here; train.freeze"):
        workdir.check(settings, may_change=(), defaults=defaults)


@pytest.mark.parametrize("path", ["/proc/none/x", "/dev/null/x"])
def test_a_place_that_cannot_be_written(path):
    with (
        pytest.raises(
            UsageError, match=f"work directory {path} cannot be written .*: choose another directory with --workdir"
        ),
        Workdir(path).lock(),
    ):
        pass


def test_a_broken_file_is_named(workdir):
    (workdir.path / "config.json").write_text("{")
    save(workdir)
    with pytest.raises(UsageError, match=r"config.json cannot be read"):
        workdir.check(SETTINGS, may_change=())


def test_results(workdir):
    assert workdir.finished(SETTINGS) is None
    workdir.write_result({"step": 3, "stop_reason": "signal"})
    assert workdir.finished(SETTINGS) is None
    workdir.write_result({"step": 3, "stop_reason": "completed"})
    assert workdir.finished(SETTINGS)["step"] == 3


@pytest.mark.parametrize(
    ("reason", "section", "key"), [("max_steps", "train", "max_steps"), ("stop_at", "eval", "stop_at")]
)
def test_a_run_that_ended_at_a_limit_goes_on_when_the_limit_moves(workdir, reason, section, key):
    settings = {"train": {"max_steps": 5}, "eval": {"stop_at": 0.5}}
    workdir.record_start(settings, {}, class_names=["a"])
    workdir.write_result({"step": 5, "stop_reason": reason})
    assert workdir.finished(settings) is not None
    workdir.record_start(settings | {section: {key: None}}, {}, class_names=["a"])
    assert workdir.finished(settings | {section: {key: None}}) is None  # it may be killed before it writes a result
    workdir.write_result({"step": 5, "stop_reason": reason})
    workdir.record_start(settings, {}, class_names=["a"])
    workdir.write_result({"step": 5, "stop_reason": reason})
    assert workdir.finished(settings | {section: {key: None}}) is None


def test_flatten_and_difference():
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}
    assert difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"d": 3}}) == [
        "b.c: 2 there, absent here",
        "b.d: absent there, 3 here",
    ]
