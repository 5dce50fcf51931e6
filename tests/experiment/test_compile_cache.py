import os
import warnings

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from resnet_jax.experiment import compile_cache as module

DIRECTORY, LEAST_SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """Unsets the user's cache settings; returns the directory below which programs would be cached."""
    before = {key: getattr(jax.config, key) for key in (DIRECTORY, LEAST_SECONDS)}
    jax.config.update(DIRECTORY, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with warnings.catch_warnings():
        yield tmp_path
    for key, value in before.items():
        jax.config.update(key, value)
    compilation_cache.reset_cache()


def test_programs_for_accelerators_are_cached(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(no_cache / "resnet_jax" / "xla")
    assert (no_cache / "resnet_jax" / "xla").is_dir()


def test_programs_for_cpus_are_not_cached(no_cache):
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None and not list(no_cache.iterdir())


def test_a_cache_directory_set_by_the_user_is_kept(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    jax.config.update(DIRECTORY, "elsewhere")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir == "elsewhere"


def test_without_a_writable_home_nothing_is_cached(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    (no_cache / "resnet_jax").write_text("a file")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.fixture
def compiled(no_cache):
    """Returns a function that compiles a program, or reads it from the cache, and returns its only file there."""
    jax.config.update(DIRECTORY, str(no_cache / "programs"))
    jax.config.update(LEAST_SECONDS, 0.0)
    compilation_cache.reset_cache()
    module.keep_programs()

    def compile_one():
        def tripled(x):
            return 3 * x

        assert jax.jit(tripled).lower(jnp.ones(2)).compile()(jnp.ones(2)).tolist() == [3, 3]
        [path] = (no_cache / "programs").glob("jit_tripled-*-cache")
        return path

    return compile_one


def make_directory(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "one byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "other content": lambda path: path.write_bytes(b"no program" * 100),
    "directory": make_directory,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_program_is_stored_again_at_once(damage, compiled, caplog):
    path = compiled()
    size = path.stat().st_size
    damage(path)
    assert compiled() == path and abs(path.stat().st_size - size) < 100  # it contains the seconds that it took
    assert caplog.messages == ["programs     jit_tripled was stored incompletely: it is compiled and stored again"]
    compiled()
    assert len(caplog.messages) == 1


def test_a_program_that_cannot_be_stored_is_one_line(compiled, caplog, monkeypatch):
    module.keep_programs()  # twice in a process, as in a notebook
    path = compiled()
    path.unlink()
    path.symlink_to(path.parent / "nowhere" / "x")  # JAX takes the entry for absent and cannot write it
    with pytest.raises(FileNotFoundError):
        compiled().read_bytes()
    [line] = caplog.messages
    assert line.startswith("programs     jit_tripled could not be stored (FileNotFoundError: ") and "\n" not in line


def test_a_cache_that_cannot_be_read_is_one_line(no_cache, caplog):
    jax.config.update(DIRECTORY, str(no_cache))
    module.keep_programs()
    warnings.warn("Error reading persistent compilation cache entry for 'jit_f': OSError: no\nsuch", stacklevel=1)
    assert caplog.messages == [
        f"programs     jit_f could not be read from {no_cache} (OSError: no such): it is compiled"
    ]


def test_other_warnings_are_shown_as_before(no_cache):
    jax.config.update(DIRECTORY, str(no_cache))
    with warnings.catch_warnings(record=True) as shown:
        module.keep_programs()
        warnings.simplefilter("always")
        warnings.warn("anything", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["anything"]
