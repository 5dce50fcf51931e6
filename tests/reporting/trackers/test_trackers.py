import importlib.util

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.reporting.trackers import TRACKERS, check_names, check_usable


@pytest.mark.parametrize("names", [(), ("tensorboard",), ("clu", "wandb"), tuple(TRACKERS)[1:]])
def test_known_names_are_accepted(names):
    check_names(names)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("tensorbord",), r"'tensorbord' is not one of tensorboard, clu, wandb, mlflow$"),
        (("wandb", "wandb"), "a name is there twice, remove one of the two$"),
        (("tensorboard", "clu"), "'tensorboard' and 'clu' write the same files, remove one of the two$"),
    ],
)
def test_other_names_are_refused(names, problem):
    with pytest.raises(UsageError, match=rf"^config.log.trackers=\(.*\): {problem}"):
        check_names(names)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("tensorboard", "tensorboard is not installed: pip install tensorboard,"),
        ("clu", r"tensorflow is not installed: pip install -e '.\[tensorflow\]',"),
        ("wandb", "wandb is not installed: pip install wandb,"),
        ("mlflow", "mlflow is not installed: pip install mlflow-skinny,"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(name, cure, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=rf"^config.log.trackers has '{name}', and {cure} or remove the name$"):
        check_usable((name,))


def test_the_default_is_usable():
    check_usable(("tensorboard",))


@pytest.fixture
def all_installed_but(monkeypatch):
    """Lets every package but one look installed."""

    def replace(missing):
        monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == missing else object())

    return replace


def test_mlflow_without_a_server_and_without_its_database_is_refused(all_installed_but, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    all_installed_but("sqlalchemy")
    with pytest.raises(
        UsageError, match="no server is named: set MLFLOW_TRACKING_URI=http://HOST:PORT, or pip install"
    ):
        check_usable(("mlflow",))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    check_usable(("mlflow",))


def test_wandb_offline_or_with_a_key_needs_no_login(all_installed_but, monkeypatch):
    all_installed_but("nothing")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_usable(("wandb",))
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0")
    check_usable(("wandb",))
