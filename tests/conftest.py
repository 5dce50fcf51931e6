"""Sets the environment of the tests and of the processes they start, before JAX is imported.

Eight virtual CPU devices; a compile cache in the checkout, which later test runs use too; and XLA flags that make
compilation three times as fast. `XLA_FLAGS= make test` compiles the way a user's run does.
"""

import importlib.metadata
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "xla"


def fast_compile_flags():
    """Returns XLA flags that skip LLVM's optimization and, where there is a choice, use the simpler code generator."""
    flags = "--xla_backend_optimization_level=0"
    # Later versions removed the flag, and XLA aborts on an unknown one.
    has_choice = importlib.metadata.version("jaxlib").startswith("0.10.")
    return f"{flags} --xla_cpu_use_fusion_emitters=false" if has_choice else flags


# Under nohup SIGHUP is ignored, by the tests and by the processes they start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ.setdefault("XLA_FLAGS", fast_compile_flags())


@pytest.fixture(autouse=True)
def log_as_before():
    """Restores the logger of the package after each test: programs that a test calls show their log on stdout."""
    package = logging.getLogger("resnet_jax")
    before = package.level, package.propagate, package.handlers
    yield
    package.level, package.propagate, package.handlers = before


@pytest.fixture(autouse=True)
def programs_are_cached():
    """Turns JAX's compile cache on again after each test: compiling for absent devices turns it off in the process."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_compilation_cache", True)
