"""Every file that a page of docs/ names or links exists."""

import re

import pytest

from tests.paths import ROOT

_FOLDERS = "resnet_jax|tests|configs|benchmarks|docs|drill|launch"
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_the_files_exist(page):
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(rf"`((?:{_FOLDERS})/[\w./-]*)", text))
    links = {f"docs/{name}" for name in re.findall(r"\]\((?!https?:)([\w/.-]+)", text)}
    assert sorted(name for name in named | links if not (ROOT / name).exists()) == []
