import subprocess

from resnet_jax.reporting import code_state
from resnet_jax.reporting.code_state import changed_files, hash_sources, record_code


def checkout(tmp_path, monkeypatch):
    """A repository with a package of one committed file."""
    package = tmp_path / "checkout" / "resnet_jax"
    (package / "configs").mkdir(parents=True)
    (package / "a.py").write_text("one = 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=package.parent, check=True)
    monkeypatch.setattr(code_state, "_PACKAGE", package)
    return package


def test_uncommitted_changes_are_stored_under_their_hash(tmp_path, monkeypatch):
    package = checkout(tmp_path, monkeypatch)
    clean = record_code(tmp_path / "code")
    assert clean["uncommitted"] is None and not (tmp_path / "code").exists()
    (package / "a.py").write_text("one = 2\n")
    changed = record_code(tmp_path / "code")
    diff = (tmp_path / "code" / changed["uncommitted"]["file"]).read_text()
    assert "-one = 1\n+one = 2\n" in diff and changed_files(diff) == ["resnet_jax/a.py"]
    assert changed["sources_sha256"] != clean["sources_sha256"]
    assert record_code(tmp_path / "code") == changed
    (package / "a.py").write_text("#" * 2_000_000)
    assert record_code(tmp_path / "code")["uncommitted"]["file"] is None  # too large to store; the hash tells it apart


def test_an_installed_package_has_a_hash_but_no_diff(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "resnet_jax"
    package.mkdir(parents=True)
    (package / "a.py").write_text("one = 1\n")
    monkeypatch.setattr(code_state, "_PACKAGE", package)
    assert record_code(tmp_path / "code") == {"sources_sha256": hash_sources(package), "uncommitted": None}
    assert code_state.files_between("a", "b") is None


def test_the_hash_depends_on_names_and_contents(tmp_path):
    for folder, files in {"one": {"a.py": "1", "b.py": "2"}, "two": {"a.py": "12", "b.py": ""}}.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    (tmp_path / "one" / "notes.txt").write_text("not a source")
    hashes = {hash_sources(tmp_path / folder) for folder in ("one", "two")}
    (tmp_path / "one" / "a.py").rename(tmp_path / "one" / "c.py")
    assert len(hashes | {hash_sources(tmp_path / "one")}) == 3
