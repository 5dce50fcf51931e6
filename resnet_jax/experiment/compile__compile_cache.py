"""Keeps compiled programs from one start to the next."""

import os
from pathlib import Path

import jax

_KEY = "jax_compilation_cache_dir"


def keep_programs() -> None:
    """Has JAX keep what it compiles for accelerators, where minutes go into it, unless the user says where or not.

    In `~/.cache/resnet_jax/xla`, or below `XDG_CACHE_HOME`. Programs for CPUs are quick to compile, and one that was
    made on another machine may not run on this.
    """
    if getattr(jax.config, _KEY) is not None or jax.default_backend() == "cpu":
        return
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "resnet_jax", "xla")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that may not be written to: nothing is kept
        return
    jax.config.update(_KEY, str(directory))
