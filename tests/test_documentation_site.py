"""The documentation site: every page is in its table of contents, and its API reference has every public name."""

import importlib.util
import re

import yaml

import resnet_jax
from tests.paths import ROOT

DOCS = ROOT / "docs"


def conf():
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(r"^(?:.*<)?(\w+)>?$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")


def test_the_reference_has_every_public_name():
    page = (DOCS / "api.md").read_text()
    documented = re.findall(r"^\.\. autoapi(?:function|class|data):: resnet_jax\.(\S+)$", page, re.MULTILINE)
    assert len(documented) == len(resnet_jax._HOMES)
    for name, (home, *renamed) in resnet_jax._HOMES.items():
        wanted = renamed[0] if renamed else name
        found = [path for path in documented if path.startswith(f"{home}.") and path.endswith(f".{wanted}")]
        assert len(found) == 1, name
        assert not renamed or f"`rj.{name}`" in page


def test_links_to_files_outside_of_docs_become_links_of_the_site():
    source = ["[a](../README.md#start) [b](../configs/digits.py) [c](data.md) [d](https://x.y) [e](#here)"]
    conf()._show_files(None, "x", source)
    assert source == ["[a](index.md#start) [b](../configs/digits.py) [c](data.md) [d](https://x.y) [e](#here)"]
    source = ["```{include} ../README.md\n```\n"]
    conf()._show_files(None, "index", source)
    assert "](data.md)" in source[0] and "](../configs/digits.py)" in source[0] and "](contributing.md)" in source[0]


def test_read_the_docs_builds_what_make_docs_builds():
    settings = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    assert settings["sphinx"] == {"configuration": "docs/conf.py", "fail_on_warning": True}
