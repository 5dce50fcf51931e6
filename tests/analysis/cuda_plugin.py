"""Runs programs that compile for GPUs; they need JAX's CUDA plugin, but no GPU."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

CUDA_PLUGIN = os.environ.get("CUDA_PLUGIN")  # path where `make test-slow` installs the plugin
_installed = CUDA_PLUGIN is not None or importlib.util.find_spec("jax_cuda13_plugin") is not None
needs_cuda_plugin = pytest.mark.skipif(not _installed, reason="needs JAX's CUDA plugin")


def run_with_plugin(*command: object) -> str:
    """Runs Python with the plugin in its path and without the settings of the tests; returns its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX", "XLA"))}
    paths = [str(ROOT), *([CUDA_PLUGIN] if CUDA_PLUGIN else ())]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
