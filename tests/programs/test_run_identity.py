from resnet_jax import experiment
from resnet_jax.distributed.channel import Channel
from resnet_jax.errors import UsageError
from resnet_jax.programs import run_identity
from resnet_jax.programs.run_identity import check_same_run
from resnet_jax.reporting.workdir import Workdir
from tests.distributed.local_channels import channels, result_or_error, together
from tests.tiny import tiny_config


def check(workdirs, changes):
    """Returns the error of each process, given its work directory and config changes; None if it has none."""

    def run(item):
        channel, path, change = item
        check_same_run(channel, experiment.resolve(tiny_config(change)), Workdir(path))

    for path in workdirs:
        path.mkdir(exist_ok=True)
    with channels(len(workdirs)) as made:
        return together(result_or_error(run), list(zip(made, workdirs, changes, strict=True)))


def test_the_same_run_passes_and_leaves_nothing(tmp_path):
    own_affairs = [{}, {"data.num_threads": 7, "data.data_dir": "/elsewhere"}, {}]
    assert check([tmp_path] * 3, own_affairs) == [None] * 3
    assert list(tmp_path.iterdir()) == []
    check_same_run(Channel(), {}, Workdir(tmp_path / "need not be there"))


def test_another_config_is_named_with_its_key(tmp_path):
    errors = check([tmp_path] * 3, [{}, {}, {"train.epochs": 5.0}])
    assert {type(error) for error in errors} == {UsageError}
    expected = "process 2 (.*) differs from process 0 (train.epochs: 10.0 there, 5.0 here; 'there' is process 0): start"
    for error in errors:
        assert str(error).split(" (")[0] == "process 2" and expected.split("(.*) ")[1] in str(error)
    assert list(tmp_path.iterdir()) == []


def test_another_version_is_named(tmp_path, monkeypatch):
    counts = iter(["0.10.2", "0.12.0"])
    monkeypatch.setattr(run_identity, "versions", lambda: {"jax": next(counts)})
    errors = check([tmp_path] * 2, [{}, {}])
    assert all("jax: 0.1" in str(error) and "the same installation" in str(error) for error in errors)


def test_another_work_directory_is_named(tmp_path):
    paths = [tmp_path / "shared", tmp_path / "shared", tmp_path / "local"]
    for error in check(paths, [{}] * 3):
        assert str(error).startswith(f"work directory {tmp_path}/local of process 2 (")
        assert f"as that of process 0, {tmp_path}/shared: give all processes the same --workdir" in str(error)


def test_a_link_to_the_same_work_directory_is_accepted(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert check([tmp_path / "there", tmp_path / "link"], [{}] * 2) == [None] * 2
