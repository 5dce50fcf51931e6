"""Addresses, versions and errors of objects in buckets."""

import json
import os
import threading

import pytest
import tensorstore

from resnet_jax.errors import UsageError
from resnet_jax.storage import lease, objects
from resnet_jax.storage.lease import Lease
from resnet_jax.storage.objects import ABSENT, Bucket, BucketError, normalized


@pytest.fixture
def bucket():
    store = tensorstore.KvStore.open({"driver": "memory"}, context=tensorstore.Context()).result()
    return Bucket("gs://bucket/run", store=store)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("gs://bucket/run", "gs://bucket/run"),
        ("gs://bucket/runs//" + "a b/", None),
        ("s3://bucket//runs/1/", "s3://bucket/runs/1"),
        ("gs://bucket", None),
        ("gs://bucket/", None),
        ("gs:///run", None),
        ("gs://bucket/a/../b", None),
        ("gs://bucket/a\nb", None),
        ("abfs://bucket/run", None),
    ],
)
def test_addresses(given, address):
    if address:
        assert normalized(given, name="--workdir") == address
    else:
        with pytest.raises(UsageError, match=r"(?s)^--workdir=.* names no directory in a bucket: give an address such"):
            normalized(given, name="--workdir")


def test_reads_writes_and_versions(bucket):
    assert bucket.read("a/b") == ("missing", b"", ABSENT)
    names = [f"n/{number}" for number in range(100)]  # more than are in progress at the same time
    versions = dict(bucket.write_all((name, name.encode()) for name in names))
    assert sorted(bucket.names()) == sorted(names)
    found = dict(bucket.read_all({**versions, "n/7": None, "n/8": versions["n/9"], "none": None}))
    assert found["n/7"] == ("value", b"n/7", versions["n/7"]) and found["n/8"].content == b"n/8"
    assert found["none"].state == "missing"
    assert {read.state for name, read in found.items() if name not in ("n/7", "n/8", "none")} == {"unchanged"}
    assert bucket.write("n/1", b"new", if_version=versions["n/2"]) is None
    assert bucket.write("n/1", b"new", if_version=versions["n/1"])
    assert bucket.read("n/1", known=versions["n/1"]).content == b"new"
    bucket.delete(["none", *names[1:]])
    assert bucket.names() == ["n/0"]


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("NOT_FOUND: Not Found [http_response_code='404']", "create the bucket, or correct its name"),
        ("PERMISSION_DENIED: no [http_response_code='403']", "log in with 'gcloud auth application-default login'"),
        ("ABORTED: All 4 retry attempts failed: could not connect", "check the network and run the same command again"),
    ],
)
def test_errors_have_a_cure(message, cure):
    class Broken:
        def list(self):
            raise ValueError(message)

    with pytest.raises(BucketError, match=r"^gs://bucket/run cannot be used \([^\[\]]*\): ") as found:
        Bucket("gs://bucket/run", store=Broken()).names()
    assert cure in str(found.value)


def test_emulators_are_found_as_by_other_clients(monkeypatch):
    for name in ("TENSORSTORE_GCS_HTTP_URL", "GOOGLE_AUTH_TOKEN_FOR_TESTING", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "mine")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:9000")
    objects._prepare_environment()
    assert os.environ["TENSORSTORE_GCS_HTTP_URL"] == "http://localhost:9000"
    assert os.environ["AWS_SHARED_CREDENTIALS_FILE"] == "mine"


def test_of_many_processes_one_gets_the_lease(bucket, monkeypatch):
    monkeypatch.setattr(lease, "_POLLED_EVERY", 0.01)
    monkeypatch.setattr(lease, "EXPIRES_AFTER", 0.3)
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.05)
    got, refused = [], []

    def compete(number):
        own = Lease(bucket, mirror=f"mirror {number}")
        try:
            own.take()
        except UsageError as error:
            refused.append(str(error))
        else:
            own.keep(lambda: None)
            got.append(own)

    threads = [threading.Thread(target=compete, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 7
    assert lease.last_mirror(bucket) == got[0]._mirror
    got[0].release()
    assert not Lease(bucket, mirror="another").take()  # at once
    assert Lease(bucket, mirror="another").take() is False  # of the same mirror whose restoration did not end


def test_a_lease_of_a_dead_process_is_taken(bucket, monkeypatch):
    monkeypatch.setattr(lease, "_POLLED_EVERY", 0.01)
    monkeypatch.setattr(lease, "EXPIRES_AFTER", 0.2)
    Lease(bucket, mirror="a").take()
    assert not Lease(bucket, mirror="b").take()  # after the time of the lease
    content = json.loads(bucket.read(lease.NAME).content)
    bucket.delete([lease.NAME])
    bucket.write(lease.NAME, json.dumps(content | {"renewed": 1.0}).encode(), if_version=ABSENT)
    monkeypatch.setattr(lease, "EXPIRES_AFTER", 1e9)
    Lease(bucket, mirror="c").take()  # at once, because it was renewed long ago
    bucket.delete([lease.NAME])
    bucket.write(lease.NAME, b"no JSON", if_version=ABSENT)
    Lease(bucket, mirror="d").take()
