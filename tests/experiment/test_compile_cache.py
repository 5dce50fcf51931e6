import jax
import pytest

from resnet_jax.experiment import compile as module


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """Unsets the user's cache settings; returns the directory below which programs would be cached."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


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
    jax.config.update("jax_compilation_cache_dir", "elsewhere")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir == "elsewhere"


def test_without_a_writable_home_nothing_is_cached(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    (no_cache / "resnet_jax").write_text("a file")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
