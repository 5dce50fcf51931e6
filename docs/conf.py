"""Configuration of the documentation site: `make docs` builds it with Sphinx and MyST, which reads Markdown.

Sphinx with MyST on Read the Docs is what the projects around JAX use. The API reference is read from the source by
sphinx-autoapi, without importing JAX.
"""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import resnet_jax  # noqa: E402  the package of this checkout; importing it loads nothing else

project = "resnet_jax"
copyright = "the authors of resnet_jax"  # noqa: A001  a name of Sphinx
version = release = resnet_jax.__version__

extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension", "sphinx_copybutton"]
exclude_patterns = ["_build"]
highlight_language = "none"
default_role = "code"  # single backticks in docstrings
python_use_unqualified_type_names = True
smartquotes = False  # flags begin with --
napoleon_use_ivar = True  # not as members, which dataclasses already have
myst_heading_anchors = 4  # the anchors of headings are those of GitHub

autoapi_dirs = [str(ROOT / "resnet_jax")]
autoapi_generate_api_docs = False  # docs/api.md lists what is public
autoapi_keep_files = False
# Imports of constants, which autoapi does not follow, and of the recipes, which are a link to configs/.
suppress_warnings = ["autoapi.python_import_resolution"]
autodoc_typehints = "signature"

html_theme = "furo"
html_title = f"resnet_jax {version}"
html_show_sphinx = False
html_copy_source = False

_INCLUDE = re.compile(r"```\{include\} (\S+)\n```")
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
# Pages of the site that show files outside of docs/.
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "resnet_jax/data/datasets/digits/README.md": "digits.md",
}


def _show_files(app, docname, source):
    """Replaces include blocks by the files, and points links to files outside of docs/ to pages of the site."""
    del app, docname
    text = _with_links_of_site(source[0], DOCS)
    source[0] = _INCLUDE.sub(lambda match: _with_links_of_site((DOCS / match[1]).read_text(), ROOT), text)


def _with_links_of_site(text, folder):
    def replace(match):
        path = os.path.relpath(folder / match[1], ROOT)
        target = _PAGES.get(path) or os.path.relpath(folder / match[1], DOCS)
        return f"]({target}{match[2] or ''})"

    return _LINK.sub(replace, text)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _show_files)
