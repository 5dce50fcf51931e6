import pytest

from resnet_jax.data.shared_memory import READY_BATCHES, check_shared_memory
from resnet_jax.errors import UsageError


def test_batches_that_do_not_fit_are_refused_with_the_cure(tmp_path):
    check_shared_memory(1, 8, directory=str(tmp_path))
    check_shared_memory(10**18, 0, directory=str(tmp_path))
    check_shared_memory(10**18, 8, directory=str(tmp_path / "not there"))
    with pytest.raises(
        UsageError, match=r"^8 worker processes .* need [\d,]+ MB .* --shm-size=8g\), or set --config.data"
    ):
        check_shared_memory(10**18, 8, directory=str(tmp_path))


def test_all_ready_batches_of_all_workers_count(tmp_path, monkeypatch):
    class Disk:
        f_bavail, f_frsize = 64, 2**20  # the 64 MB of a container

    monkeypatch.setattr("os.statvfs", lambda directory: Disk)
    largest = 64 * 2**20 // (4 * READY_BATCHES)
    check_shared_memory(largest, 4, directory=str(tmp_path))
    with pytest.raises(UsageError, match="and need 67 MB of it, and .* has 67 MB"):
        check_shared_memory(largest + 1, 4, directory=str(tmp_path))
