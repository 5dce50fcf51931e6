"""Records which code a run uses: a hash of the source files, and the changes that are not committed to git."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import resnet_jax
from resnet_jax.files import write_atomically

_PACKAGE = Path(resnet_jax.__file__).parent
_MOST_BYTES = 1_000_000  # largest diff that is stored


def record_code(directory: Path) -> dict[str, Any]:
    """Stores the uncommitted changes of the checkout as `<directory>/<hash>.diff`, and describes the code.

    Args:
      directory: created if there are changes.

    Returns:
      JSON values: `sources_sha256`, the hash of the Python files of the package, and `uncommitted`, the hash of the
      diff from the commit and the name of the stored file (None if the diff is larger than 1 MB, since it is not stored
      then). `uncommitted` is None if there are no changes, and for an installed package.
    """
    diff = _uncommitted(_PACKAGE.parent)
    described: dict[str, Any] = {"sources_sha256": hash_sources(_PACKAGE), "uncommitted": None}
    if not diff:
        return described
    sha256 = hashlib.sha256(diff).hexdigest()
    name = f"{sha256[:12]}.diff" if len(diff) <= _MOST_BYTES else None
    if name is not None:
        directory.mkdir(exist_ok=True)
        write_atomically(directory / name, diff)
    return described | {"uncommitted": {"sha256": sha256, "file": name}}


def hash_sources(package: Path) -> str:
    """Returns a hash of the names and contents of the Python files below a directory, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    # In a checkout `configs` is a symbolic link, which `rglob` does not follow: list it separately.
    files = [path for folder in (package, package / "configs") for path in folder.rglob("*.py")]
    for name, path in sorted({path.relative_to(package).as_posix(): path for path in files}.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def changed_files(diff: str) -> list[str]:
    """Returns the names of the files that a diff, the output of `git diff`, changes."""
    starts = [line for line in diff.splitlines() if line.startswith("diff --git ")]
    return [line.rsplit(" b/", 1)[-1] for line in starts]


def files_between(first: str, second: str) -> list[str] | None:
    """Returns the files in which two commits differ; None if this checkout does not have both commits."""
    found = _git(_PACKAGE.parent, "diff", "--name-only", first, second, "--")
    return None if found is None else found.decode("utf-8", "replace").splitlines()


def _uncommitted(root: Path) -> bytes:
    return _git(root, "diff", "--no-color", "--no-ext-diff", "HEAD") or b""


def _git(root: Path, *words: str) -> bytes | None:
    """Returns what git prints; None if it fails, or if `root` is an installed package and not a checkout."""
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
