"""The rules of the structure, as tests: who may import whom, how long things may be, what loads what."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

PACKAGE = ROOT / "resnet_jax"
FILES = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "configs").glob("*.py")])  # configs is a link, not followed

# The rooms of the package, from the leaves up: a room may import from the rooms before it and from itself.
ROOMS = [
    "errors",
    "text",
    "local_paths",
    "nested",
    "files",
    "old_settings",
    "optional_tensorflow",
    "storage",
    "config_keys",
    "configs",
    "distributed",
    "models",
    "data",
    "training",
    "reporting",
    "checkpoints",
    "weights",
    "experiment",
    "analysis",
    "programs",
    "__main__",
]
LEAVES = {
    "__init__",
    "__main__",
    "config_keys",
    "errors",
    "text",
    "local_paths",
    "files",
    "nested",
    "old_settings",
    "optional_tensorflow",
}  # the only modules outside of a folder

# Heavy packages, and the files that may import them at module level.
HEAVY = {
    "tensorflow": {  # the files that only --mode=export of a SavedModel imports
        "programs/export/tensorflow_images.py",
        "programs/export/tensorflow_resize.py",
    },
    "tensorboard": set(),
    "tensorstore": set(),
    "huggingface_hub": set(),
    "onnx": set(),
    "onnxruntime": set(),
    "wandb": set(),
    "mlflow": set(),
    "tensorflow_datasets": {
        "data/sources/tfds.py",
        "data/sources/tfds_features.py",
        "data/sources/tf_example.py",
        "data/datasets/digits/builder.py",
        "programs/prepare/builder.py",
        "programs/prepare/examples.py",
        "programs/prepare/prepare.py",
        "programs/prepare/shards.py",
    },
    "grain": {"data/feed.py"},
    "clu": {"reporting/profiling.py", "programs/train/run.py", "reporting/run_log.py", "reporting/run_record.py"},
    "matplotlib": {
        "programs/comparison/picture.py",
        "programs/evaluation/calibration_picture.py",
        "programs/evaluation/confusion_picture.py",
        "programs/input_page.py",
        "programs/replay/picture.py",
        "reporting/glyphs.py",
        "reporting/input_grid.py",
        "reporting/report_picture.py",
    },
    "orbax": {"checkpoints/arrays.py", "checkpoints/files.py"},
    "pyarrow": {
        "data/records/parquet_rows.py",
        "data/sources/parquet.py",
        "data/sources/parquet_columns.py",
    },
    "safetensors": {"weights/formats/safetensors.py"},
    "torch": set(),
    "cv2": {
        "data/examination.py",
        "data/png.py",
        "data/resize.py",
        "data/sources/synthetic_jpeg.py",
        "programs/report/pictures.py",
    },
    "simplejpeg": {"data/jpeg.py", "programs/prepare/shrinking.py", "data/sources/synthetic_jpeg.py"},
    "PIL": {
        "data/decoder_messages.py",
        "data/other_formats.py",
        "data/png.py",
        "data/host_augment.py",
        "data/resize.py",
        "data/datasets/digits/builder.py",
        "programs/export/tensorflow_resize.py",
        "programs/prepare/marking.py",
    },
    "ml_collections": {
        *(f"experiment/{path.name}" for path in (PACKAGE / "experiment").glob("*.py")),  # the readers of configs
        "config_keys.py",
        *(f"configs/{path.name}" for path in (PACKAGE / "configs").glob("*.py")),
        "programs/command_line.py",
        "programs/main.py",
        "programs/recipes.py",
    },
}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room(module: str) -> str:
    """'resnet_jax.data.sources.tfds' -> 'data'."""
    return module.split(".")[1]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def outside_functions(node: ast.AST):
    """All nodes that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "resnet_jax":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def required(arguments: ast.arguments) -> list[str]:
    """The parameters of a function without the keyword-only ones that have a default: options of the library."""
    options = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    names = [argument.arg for argument in arguments.args] + [option.arg for option, default in options if not default]
    return [name for name in names if name not in ("self", "cls")]


def test_imports_point_one_way():
    for path in FILES:
        own = module_name(path)
        for imported in imports(ast.walk(parsed(path))):
            if imported.startswith("resnet_jax.") and own not in ("resnet_jax", "resnet_jax.__main__"):
                assert ROOMS.index(room(imported)) <= ROOMS.index(room(own)), f"{own} imports {imported}"


def test_every_module_lies_in_a_room():
    assert {path.stem for path in PACKAGE.glob("*.py")} == LEAVES
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(ROOMS) - LEAVES


def test_every_room_says_its_purpose_in_one_line():
    for path in PACKAGE.rglob("__init__.py"):
        first = ast.get_docstring(parsed(path)).splitlines()[0]
        assert 10 < len(first) <= 117 and first.endswith("."), path


def test_heavy_packages_are_imported_only_where_they_are_needed():
    for path in FILES:
        found = {name.split(".")[0] for name in imports(outside_functions(parsed(path)))} & set(HEAVY)
        own = str(path.relative_to(PACKAGE))
        assert {name for name in found if own not in HEAVY[name]} == set(), own


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


def length(function: ast.FunctionDef) -> int:
    """The lines of a function from the first statement after its docstring."""
    documented = isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant)
    body = function.body[1:] if documented else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_and_functions_are_short():
    for path in [*FILES, ROOT / "main.py", *(ROOT / "benchmarks").rglob("*.py")]:
        assert path.read_text().count("\n") <= 300, path
        for function in functions(path) if path.parent.name != "configs" else ():
            where = f"{path}: {function.name}"
            assert length(function) <= 40, f"{where} has {length(function)} lines"
            assert len(required(function.args)) <= 7, f"{where} has {len(required(function.args))} parameters"


def test_only_experiment_takes_a_config():
    for path in FILES:
        for function in functions(path) if path.parent.name != "experiment" else ():
            names = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
            assert not names & {"config", "cfg", "args", "flags"}, f"{path}: {function.name}"


def test_no_defaults_are_read_from_a_config_by_get():
    for path in (PACKAGE / "experiment").glob("*.py"):
        assert "config.get(" not in path.read_text()


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=os.environ)
    return done.stdout


def test_importing_the_package_costs_nothing():
    program = "import sys, time; start = time.perf_counter(); import resnet_jax; print(time.perf_counter() - start)"
    assert min(float(run(program)) for _ in range(3)) < 0.1
    assert run("import sys, resnet_jax; print({'jax', 'numpy'} & set(sys.modules))") == "set()\n"


def test_training_loads_no_tensorflow_until_the_writer_asks():
    program = (
        "import sys, resnet_jax.programs.train.run, resnet_jax.data.sources.tfds; print('tensorflow' in sys.modules)"
    )
    assert run(program) == "False\n"


def test_the_page_of_the_architecture_names_every_file():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `?(\w+)/?`? \| (.*) \|$", page, re.MULTILINE))
    for path in FILES:
        place = path.relative_to(PACKAGE).parts
        if not path.stem.startswith("__") and place[0] != "configs":
            row = rows[place[0] if len(place) > 1 else "leaves"]
            assert f"`{path.stem}`" in row, f"docs/architecture.md does not name {path.relative_to(ROOT)}"
            assert all(f"{folder}/" in row for folder in place[1:-1]), path
    assert page.count("\n") <= 120


def test_the_median_function_is_short():
    lengths = [length(function) for path in FILES for function in functions(path)]
    assert sorted(lengths)[len(lengths) // 2] <= 8
