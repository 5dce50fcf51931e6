import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The directory in which the runs of this session prepare their data."""
    return tmp_path_factory.mktemp("data")
