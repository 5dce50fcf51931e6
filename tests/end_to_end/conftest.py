import pytest

from tests.end_to_end import processes


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The directory in which the runs of this session prepare their data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, data_dir):
    """A run from beginning to end: its work directory, which tests leave as it is, and the completed process."""
    workdir = tmp_path_factory.mktemp("finished")
    done = processes.run("configs/digits.py", workdir, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    return workdir, done
