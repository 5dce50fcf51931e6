"""Checks of the installed packages: compatible versions, and whether TensorFlow takes GPU memory away from JAX."""

import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Callable, Iterator

from packaging.requirements import Requirement

from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.programs.doctor.accelerators import CUDA_PLUGINS, nvidia_gpus
from resnet_jax.programs.doctor.finding import Finding, error, ok, warning

_OWN = "resnet-jax-trainer"
_GRIP = 500  # MB; if loading TensorFlow takes more GPU memory, the check warns (a CUDA context takes up to about 400)
Version = Callable[[str], str | None]


def installed(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def packages(*, version: Version = installed) -> list[Finding]:
    """Checks that the versions of this package, jax, jaxlib, and JAX's plugins for GPUs and TPUs are compatible."""
    found = [*_unmet(version), *_plugins(version), *_libtpu(version)]
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "libtpu", *CUDA_PLUGINS)
    known = [f"{name} {version(name)}" for name in names if version(name)]
    return found or [ok("packages", ", ".join([f"Python {platform.python_version()}", *known]))]


def _unmet(version: Version) -> Iterator[Finding]:
    """Yields an error for each requirement of this program and of JAX that is not met."""
    for package in (_OWN, "jax", "jaxlib"):
        for text in _requirements(package):
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            has = version(needed.name)
            if has is None or not needed.specifier.contains(has, prereleases=True):
                problem = f"{package} needs {needed.name}{needed.specifier}, and {has or 'none'} is installed"
                yield error("packages", problem, cure=f"pip install '{needed.name}{needed.specifier}'")


def _requirements(package: str) -> list[str]:
    try:
        return importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:  # this program runs from a checkout that was not installed
        return []


def _plugins(version: Version) -> Iterator[Finding]:
    present = {name: version(name) for name in CUDA_PLUGINS if version(name)}
    for name, has in present.items():
        parts = {has, version(name.replace("plugin", "pjrt")), version("jaxlib")}
        if len(parts) > 1:
            problem = f"{name} {has}, its part pjrt and jaxlib {version('jaxlib')} have different versions"
            extra = "cuda" + re.findall(r"\d+", name)[0]
            yield error("packages", problem, cure=f"pip install -e '.[{extra}]'")
    if len(present) > 1:
        cure = f"pip uninstall one of them, for example {min(present)}"
        yield warning("packages", f"{' and '.join(present)} are both installed", cure=cure)
    libraries = os.environ.get("LD_LIBRARY_PATH", "")
    if present and re.search(r"cuda|cudnn|nvidia", libraries, re.IGNORECASE):
        problem = f"LD_LIBRARY_PATH={libraries} may replace the CUDA libraries that JAX has installed"
        yield warning("packages", problem, cure="unset LD_LIBRARY_PATH")


def _libtpu(version: Version) -> Iterator[Finding]:
    has = version("libtpu")
    wanted = [Requirement(text) for text in _requirements("jax") if text.startswith("libtpu")]
    if has and wanted and not wanted[0].specifier.contains(has, prereleases=True):
        problem = f"libtpu {has} is not the version of this JAX, {wanted[0].specifier}"
        yield warning("packages", problem, cure="pip install -e '.[tpu]'")


def tensorflow() -> list[Finding]:
    """Checks that TensorFlow, if installed, takes no GPU memory, which JAX needs."""
    if importlib.util.find_spec("tensorflow") is None:
        return [ok("TensorFlow", "is not installed; few features need it")]
    has = installed("tensorflow") or installed("tensorflow-cpu")
    before = nvidia_gpus()
    if not before:
        return [ok("TensorFlow", f"{has} is installed; there is no GPU whose memory it could take")]
    module = import_tensorflow()
    module.zeros(1).numpy()
    taken = max(now.used_mb - then.used_mb for now, then in zip(nvidia_gpus(), before, strict=False))
    if taken > _GRIP:
        cure = "pip install tensorflow-cpu instead: JAX needs the memory"
        return [warning("TensorFlow", f"{has} takes {taken:,} MB of GPU memory", cure=cure)]
    return [ok("TensorFlow", f"{has} leaves the GPUs alone")]
