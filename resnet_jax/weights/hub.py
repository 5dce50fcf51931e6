"""Downloads weights from the Hugging Face Hub into the cache of `huggingface_hub`, and verifies them.

The library reads the environment variables HF_HOME (directory of the cache), HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE.
"""

import contextlib
import functools
import hashlib
import importlib
import logging
import re
from pathlib import Path
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.text import labelled, printable
from resnet_jax.weights.formats.timm_config import CONFIG

logger = logging.getLogger(__name__)

SAFETENSORS = "model.safetensors"
_FILES = (SAFETENSORS, "pytorch_model.bin")  # timm's names of weights files; old repositories have only the second file
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^\s@]+))?")
_SHA256, _SHA1 = 64, 40  # number of hexadecimal digits of these hashes


def import_hub() -> Any:
    """Imports and returns `huggingface_hub`, with its modules `errors` and `constants`.

    Raises:
      UsageError: it is not installed.
    """
    try:
        for module in ("huggingface_hub.errors", "huggingface_hub.constants"):
            importlib.import_module(module)
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UsageError(
            "the Hugging Face Hub needs the package huggingface_hub, which is not installed: pip install -e '.[hub]'"
        ) from None


def repository(address: str) -> str:
    """Returns 'org/name' from an address hf://org/name or hf://org/name@revision. Raises UsageError for other forms."""
    return _parse(address)[0]


def _parse(address: str) -> tuple[str, str | None]:
    """Returns 'org/name' and the revision of an address (a branch, tag or commit); None if it has no revision."""
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise UsageError(f"{address!r} is not hf://org/name or hf://org/name@revision: correct the address")
    return match[1], match[2]


def download(address: str) -> Path:
    """Downloads the weights of a repository, and timm's `config.json` if it has one, unless they are in the cache.

    If the Hub cannot be reached, or HF_HUB_OFFLINE=1 is set, files in the cache are used.

    Args:
      address: hf://org/name, or hf://org/name@revision with a branch, a tag or a commit; without one the branch 'main'.

    Returns:
      The path of the weights in the cache; `config.json` is in the same directory.

    Raises:
      UsageError: `huggingface_hub` is not installed; the repository, the revision or weights in it do not exist or may
        not be read; the Hub cannot be reached; or a file differs from its checksum.
    """
    repo, revision = _parse(address)
    get = functools.partial(_file, import_hub(), repo, address=address)
    config = get(CONFIG, revision)
    # The directory of `config.json` in the cache is named after its commit: take the weights of the same commit.
    pinned = config.parent.name if config else revision
    found = (get(name, pinned) for name in _FILES)
    path = next((path for path in found if path), None)
    if path is None:
        raise UsageError(f"{address} has neither {' nor '.join(_FILES)}: name a repository with weights of timm")
    for file in filter(None, (config, path)):
        _verify(file)
    logger.info(labelled("downloaded", f"{path.name} of {repo}, commit {path.parent.name}"))
    return path


def _file(hub: Any, repo: str, name: str, revision: str | None, *, address: str) -> Path | None:
    """Returns the path of a file in the cache, downloaded if necessary; None if the repository does not have it."""
    errors = hub.errors
    try:
        return Path(hub.hf_hub_download(repo, name, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        if hub.try_to_load_from_cache(repo, name, revision=revision) is hub._CACHED_NO_EXIST:
            return None
        raise UsageError(
            f"{address}: {name} is not in the cache, and the Hub cannot be reached ({_reason(error)}): connect to the "
            "network and leave HF_HUB_OFFLINE unset, or give a local path"
        ) from error
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{address} is open only to users who accepted its terms: accept them on its page, then run hf auth login, "
            "or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{address} has no revision {revision!r}: name a branch, a tag or a commit") from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"{address} does not exist, or is private: correct the name, or run hf auth login, or set HF_TOKEN"
        ) from error
    except Exception as error:  # the HTTP and storage libraries that `huggingface_hub` uses raise errors of many types
        raise UsageError(
            f"{address}: {name} cannot be downloaded ({_reason(error)}): run the same command again, or give a local "
            "path"
        ) from error


def _reason(error: BaseException) -> str:
    """Returns the message of the original error, from which `error` was raised, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return printable((str(error).strip() or type(error).__name__).split("\n", 1)[0][:200])


def _verify(path: Path) -> None:
    """Raises UsageError if the content of a file in the cache does not match its checksum.

    In the cache of `huggingface_hub`, `path` is a symbolic link to a file that is named after its checksum: the SHA-256
    of a large file, Git's SHA-1 of others. On a file system without links the checksum is unknown and not checked.
    """
    with contextlib.suppress(OSError):
        blob = path.parent / path.readlink()
        size = blob.stat().st_size
        digests = {_SHA256: hashlib.sha256(), _SHA1: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)}
        digest = digests.get(len(blob.name))
        if digest is None:
            return
        with blob.open("rb") as file:
            if hashlib.file_digest(file, lambda: digest).hexdigest() == blob.name:
                return
        raise UsageError(
            f"{blob.resolve()} is damaged, it does not have the checksum of the Hub: delete it and run the same "
            "command again"
        )
