"""The quick start notebook is well-formed, and runs from first to last cell, with fewer epochs and channels."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib

import pytest

import resnet_jax as rj
from tests.end_to_end.processes import environment
from tests.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = {cell["id"]: "".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"}
needs_nbclient = pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="needs nbclient")

# In a process of its own: the warnings of Jupyter's packages are not this project's.
EXECUTE = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
for cell in notebook.cells:
    cell.source = cell.source.replace("EPOCHS = 36.0", "EPOCHS = 2.0").replace("epochs = 3.0", "epochs = 0.5")
    cell.source = cell.source.replace("epochs = EPOCHS", "epochs = EPOCHS; recipe.model.features = 4")
nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def test_the_notebook_is_stored_without_outputs():
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


def test_the_cells_are_python_and_use_names_that_exist():
    for name, source in CODE.items():
        python = re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE)  # commands of IPython
        tree = ast.parse(python, name)
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rj"
        }
        assert used <= set(rj._HOMES), name


def test_the_extras_that_the_first_cell_installs_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (choice,) = re.findall(r"extra = (.*)", CODE["install"])
    extras = set(re.findall(r'"(\w+)"', choice))
    assert extras == {"cuda12", "tpu", "notebook"} and extras <= set(project["optional-dependencies"])
    assert f'"{project["name"]}[' in CODE["install"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The outputs of the code cells by id, as MIME type -> text, and the directory in which they ran."""
    directory = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, "-c", EXECUTE, str(NOTEBOOK), "executed.ipynb"]
    env = environment(directory / "data")
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    outputs = {}
    for cell in json.loads((directory / "executed.ipynb").read_text())["cells"]:
        for output in cell.get("outputs", ()):
            content = output.get("data") or {output["name"]: output["text"]}
            for kind, text in content.items():
                outputs.setdefault(cell["id"], {}).setdefault(kind, []).append("".join(text))
    return outputs, directory


@pytest.mark.slow
@needs_nbclient
def test_the_run_shows_a_live_bar_and_its_lines(executed):
    outputs, directory = executed
    assert (directory / "runs" / "digits" / "result.json").exists()
    assert "application/vnd.jupyter.widget-view+json" in outputs["train"]  # the bar
    shown = "".join(outputs["train"]["stdout"])
    assert "data         digits:1.0.0/train 1,437 images" in shown and "accuracy     top-1" in shown
    assert "step      45/45" not in shown  # the bar shows it; the log in the work directory has the lines
    assert "step      45/45" in (directory / "runs" / "digits" / "train.log").read_text()
    assert re.search(r"^top-1 \d+\.\d\d% of 360 pictures, stopped because: completed$", outputs["result"]["stdout"][0])
    assert "import     " not in re.search(r"time .*", shown)[0]  # the age of the kernel is no time of the run


@pytest.mark.slow
@needs_nbclient
def test_the_pictures_the_prediction_and_the_loop(executed):
    outputs, _ = executed
    assert len(outputs["pictures"]["image/png"]) == 2
    assert len(outputs["plot"]["image/png"]) == len(outputs["loop"]["image/png"]) == 1
    predicted = "".join(outputs["predict"]["stdout"])
    assert predicted.count("pictures/") == 4 and predicted.count("%") == 8
    assert re.match(r"{'loss': \d+\.\d+, 'top1': 0\.\d+", outputs["evaluate"]["text/plain"][0])
    assert not any("stderr" in kinds and "Traceback" in "".join(kinds["stderr"]) for kinds in outputs.values())
