"""Objects in a bucket of Google Cloud Storage or S3: reads, writes, lists and deletes them through TensorStore.

No other file of this package accesses a bucket. TensorStore is installed with Orbax and finds the usual credentials.
Unlike `etils.epath` and fsspec, it can write an object on the condition that the object still has a given version,
which a lease needs.
"""

import contextlib
import functools
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from resnet_jax.errors import UsageError

ABSENT = b"\x02"  # TensorStore's version of an object that does not exist

_ADDRESS = re.compile(r"(gs|s3)://([^/]+)/*(.*?)/*")
_AT_ONCE = 32  # number of operations in progress at the same time
_PATIENCE = 60.0  # time limit of an operation in seconds; that of a write is longer by its bytes / `_SLOWEST`
_SLOWEST = 1e6  # smallest upload rate in bytes per second that the time limit of a write allows
_RETRIES = {"max_retries": 4, "initial_delay": "500ms", "max_delay": "4s"}
_LONGEST_CAUSE = 200  # largest number of characters of TensorStore's message that an error message quotes

_LOGIN = {
    "gs": "log in with 'gcloud auth application-default login', or give the account of this machine access",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the role of this machine access",
}


class BucketError(UsageError):
    """A bucket cannot be read or written."""


class Read(NamedTuple):
    """The result of reading an object."""

    state: Literal["value", "unchanged", "missing"]
    content: bytes  # empty unless `state` is 'value'
    version: bytes  # `ABSENT` if the object is missing


class Bucket:
    """The objects below an address such as gs://bucket/run. Their names are relative to this address."""

    def __init__(self, address: str, *, store: Any = None):
        """Stores the address, which is opened at the first access.

        Args:
          address: an address in the form that `normalized` returns.
          store: a `tensorstore.KvStore` to use; None: the address is opened.
        """
        self.address = address
        self._scheme = address.partition("://")[0]
        self._given_store = store

    @functools.cached_property
    def _store(self) -> Any:
        return _open(self.address) if self._given_store is None else self._given_store

    def read(self, name: str, *, known: bytes | None = None) -> Read:
        """Reads an object. If its version is `known`, returns the state 'unchanged' only. Raises BucketError."""
        return next(found for _, found in self.read_all({name: known}))

    def read_all(self, known: Mapping[str, bytes | None]) -> Iterator[tuple[str, Read]]:
        """Reads objects, many at a time, and yields their names and contents in order. Raises BucketError.

        Args:
          known: name -> version of the object whose content the caller has already. An object that still has this
            version is not read again; None: the object is read in any case.
        """
        for names in _groups(known):
            with self._errors():
                started = [self._store.read(name, if_not_equal=known[name]) for name in names]
            for name, future in zip(names, started, strict=True):
                with self._errors():
                    found = future.result(timeout=1e4)
                yield name, _as_read(found, known[name])

    def write(self, name: str, content: bytes, *, if_version: bytes) -> bytes | None:
        """Writes an object if its version is `if_version`, and returns its new version; else returns None."""
        with self._errors():
            stamp = self._store.write(name, content, if_equal=if_version).result(timeout=_seconds(content))
        return bytes(stamp.generation) or None

    def write_all(self, contents: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Writes objects, many at a time, and yields each name with its new version. Raises BucketError."""
        for group in _groups(contents):
            with self._errors():
                started = [(name, self._store.write(name, content), _seconds(content)) for name, content in group]
            for name, future, seconds in started:
                with self._errors():
                    stamp = future.result(timeout=seconds)
                yield name, bytes(stamp.generation)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects; those that do not exist are ignored. Raises BucketError."""
        for group in _groups(names):
            with self._errors():
                for future in [self._store.write(name, None) for name in group]:
                    future.result(timeout=_PATIENCE)

    def names(self) -> list[str]:
        """Returns the names of all objects below the address. Raises BucketError."""
        with self._errors():
            return [key.decode() for key in self._store.list().result(timeout=_PATIENCE)]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises BucketError in place of TensorStore's errors, which have several types, such as ValueError."""
        try:
            yield
        except Exception as error:
            raise BucketError(f"{self.address} cannot be used ({_cause(error)}): {self._cure(str(error))}") from error

    def _cure(self, text: str) -> str:
        if "404" in text or "NOT_FOUND" in text or "NoSuchBucket" in text:
            return "create the bucket, or correct its name"
        if re.search("40[13]|UNAUTHENTICATED|PERMISSION_DENIED|[Cc]redential|[Tt]oken", text):
            return f"{_LOGIN[self._scheme]}; or mount the bucket"
        if "INVALID_ARGUMENT" in text or "Invalid" in text:
            return "correct the name of the bucket"
        return "check the network and run the same command again, or mount the bucket"


def normalized(address: str, *, name: str) -> str:
    """Returns the address of a directory in a bucket without superfluous slashes: 'gs://bucket/runs/first'.

    Args:
      address: an address that begins with gs:// or s3://.
      name: the flag or config key whose value is the address, for error messages.

    Raises:
      UsageError: the address is not that of a directory in a bucket.
    """
    match = _ADDRESS.fullmatch(address)
    parts = match[3].split("/") if match else [""]
    if match is None or {"", ".", ".."} & set(parts) or not address.isprintable():
        raise UsageError(f"{name}={address} names no directory in a bucket: give an address such as gs://BUCKET/RUN")
    return f"{match[1]}://{match[2]}/{'/'.join(parts)}"


def _open(address: str) -> Any:
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    _prepare_environment()
    import tensorstore  # noqa: PLC0415  only a run in a bucket waits for it

    spec: dict[str, Any] = {"driver": "gcs" if scheme == "gs" else "s3", "bucket": bucket, "path": f"{path}/"}
    spec["context"] = {f"{spec['driver']}_request_retries": _RETRIES}
    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        spec |= {"endpoint": endpoint} if endpoint else {}
        spec |= {"aws_region": region} if region else {}
    return tensorstore.KvStore.open(spec).result(timeout=_PATIENCE)


def _prepare_environment() -> None:
    """Sets environment variables so that TensorStore finds a storage emulator and prints no needless warnings."""
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        url = emulator if "://" in emulator else f"http://{emulator}"
        os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", url.rstrip("/"))
    if os.environ.get("TENSORSTORE_GCS_HTTP_URL"):
        os.environ.setdefault("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    for variable, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        if not Path(f"~/.aws/{file}").expanduser().exists():
            os.environ.setdefault(variable, os.devnull)  # else TensorStore warns that the file does not exist


def _groups(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, _AT_ONCE)):
        yield group


def _seconds(content: bytes) -> float:
    return _PATIENCE + len(content) / _SLOWEST


def _as_read(found: Any, known: bytes | None) -> Read:
    version = bytes(found.stamp.generation)
    if found.state == "missing":
        return Read("missing", b"", ABSENT)
    # TensorStore returns 'unspecified' if the version is the known one. Some storage emulators send the content anyway.
    if found.state == "unspecified" or version == known:
        return Read("unchanged", b"", version)
    return Read("value", bytes(found.value), version)


def _cause(error: Exception) -> str:
    """Returns the first line of an error message, without the details that TensorStore adds in brackets."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"\s*\[.*", "", lines[0])[:_LONGEST_CAUSE] or type(error).__name__
