import jax
import pytest

from resnet_jax.experiment import compile as module


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """As if the user had said nothing; returns the directory that programs would be kept below."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_of_accelerators_are_kept(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(no_cache / "resnet_jax" / "xla")
    assert (no_cache / "resnet_jax" / "xla").is_dir()


def test_those_of_cpus_are_not(no_cache):
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None and not list(no_cache.iterdir())


def test_what_the_user_says_stands(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    jax.config.update("jax_compilation_cache_dir", "elsewhere")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir == "elsewhere"


def test_where_nothing_can_be_written_nothing_is_kept(no_cache, monkeypatch):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    (no_cache / "resnet_jax").write_text("a file")
    module.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
