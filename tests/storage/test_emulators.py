"""The mirror and the lease against storage emulators: real requests, real conditions on versions."""

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.storage import lease, uploads
from resnet_jax.storage.lease import Lease
from resnet_jax.storage.mirror import Mirror
from resnet_jax.storage.objects import ABSENT, Bucket, BucketError
from tests.storage import emulators
from tests.storage.buckets import files, save, session, start, steps_in_metrics

pytestmark = pytest.mark.slow  # needs packages that only the slow tests install


@pytest.fixture(params=["gs", "s3"])
def bucket(request, tmp_path, monkeypatch):
    """The address of a bucket that an emulator serves."""
    monkeypatch.setattr(lease, "_POLLED_EVERY", 0.05)
    monkeypatch.setattr(uploads, "_LOOKED_EVERY", 100.0)  # no thread uploads
    (tmp_path / "objects").mkdir()
    server = emulators.google_storage(tmp_path / "objects") if request.param == "gs" else emulators.s3()
    with server as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://{variables.get('STORAGE_EMULATOR_HOST', '')}")
        yield f"{request.param}://{emulators.BUCKET}"


def test_a_run_on_two_machines(bucket, tmp_path, monkeypatch):
    for machine, step in (("a", 10), ("b", 20), ("b", 30), ("a", 40)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        mirror = Mirror(f"{bucket}/runs/with space/ü")
        with session(mirror):
            start(mirror.path)
            save(mirror.path, step)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    other = Mirror(f"{bucket}/runs/with space/ü")
    other.pull()
    assert steps_in_metrics(other.path) == [10, 20, 30, 40]
    assert files(other.path) == files(mirror.path)


def test_conditions(bucket, monkeypatch):
    one = Bucket(f"{bucket}/a")
    version = one.write("object", b"1", if_version=ABSENT)
    assert version and one.read("object", known=version).state == "unchanged"
    assert dict(one.write_all([("object", b"2")]))["object"] != version
    assert one.read("object", known=version).content == b"2"
    if bucket.startswith("s3"):  # fake-gcs-server ignores the conditions of a write
        assert one.write("object", b"3", if_version=version) is None
        assert one.write("object", b"3", if_version=ABSENT) is None
        assert one.read("object").content == b"2"


def test_a_bucket_that_does_not_exist(bucket):
    with pytest.raises(BucketError, match="create the bucket, or "):
        Lease(Bucket(f"{bucket}-x/a"), mirror="").take()


def test_a_second_run(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    with session(Mirror(f"{bucket}/run")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
        with pytest.raises(UsageError, match="another process is at work"), session(Mirror(f"{bucket}/run")):
            pytest.fail("both hold the lease")
