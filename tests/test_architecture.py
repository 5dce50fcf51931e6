"""The rules of the structure, as tests: who may import whom, how long things may be, what loads what."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "resnet_jax"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

# A module may import from the layers before its own, and from its own subpackage's __init__ and siblings if that is
# listed as a whole.
LAYERS = [
    {"errors", "batch"},
    {
        "class_list",
        "command_line",
        "r1_flag_table",
        "limits",
        "checksums",
        "collectives",
        "locks",
        "loss_scale",
        "losses",
        "confidence",
        "confusion",
        "metrics",
        "quiet_imports",
        "compile_counter",
        "hbm_traffic",
        "duration",
        "ledger",
        "compile_cache",
        "process_age",
        "process_tree",
        "metrics_file",
        "record_file",
        "mixing",
        "schedules",
        "normalization",
        "augmentations",
        "retention",
        "rendezvous",
        "averaging",
        "sharding",
        "signals",
        "eval_picture",
        "data.crops",
        "data.hashing",
        "data.jpeg",
        "data.operations",
        "data.open_files",
        "data.records",
        "data.scan",
        "data.tfrecord_format",
        "topology",
    },
    {
        "agreement",
        "channel",
        "checkpoint_files",
        "cluster",
        "confusion_picture",
        "ledger_words",
        "program_cost",
        "roofline",
        "state",
        "workdir",
        "writers",
        "provenance",
        "r1_meaning",
        "data.array_records",
        "data.crop_stages",
        "data.images",
        "data.policies",
        "data.resize",
        "data.tfrecords",
    },
    {"host_state", "same_run", "stopping", "progress", "optimizers", "models"},
    {"checkpoint", "data.datasets", "data.order", "report_picture", "trainable", "weights"},
    {"summary"},
    {"data.sources", "gradients", "warm_start"},
    {"data.loader"},
    {"data.bad_examples", "data.feed"},
    {"data_parallel", "prediction", "steps", "run_log"},
    {"experiment"},
    {"agenda", "compilation", "profiling", "chosen", "run_record"},
    {"certificate", "evaluator", "exports", "measurements", "prepare", "r1_flags", "step_needs"},
    {"benchmark", "evaluate", "export", "plan_run", "predict", "train"},
]

EXPERIMENT = (
    "build",
    "computation",
    "description",
    "division",
    "inference",
    "inputs",
    "measuring",
    "network",
    "plan",
)  # the readers of configs

# Heavy packages, and the files that may import them at module level.
HEAVY = {
    "tensorflow": {"exports/tensorflow_images.py", "exports/tensorflow_resize.py"},  # imported by what needs them
    "tensorboard": set(),
    "tensorflow_datasets": {
        "data/sources/tfds.py",
        "data/sources/tf_example.py",
        "data/datasets/digits/builder.py",
        "data/datasets/imagenet/builder.py",
        "data/datasets/imagenet/examples.py",
        "prepare.py",
    },
    "grain": {"data/feed.py"},
    "clu": {"profiling.py", "train.py", "run_log.py", "run_record.py"},
    "matplotlib": {"confusion_picture.py", "report_picture.py"},
    "orbax": {"checkpoint_files.py"},
    "safetensors": {"weights/tensor_files.py"},
    "torch": set(),
    "cv2": {"data/images.py", "data/resize.py", "data/sources/synthetic_jpeg.py"},
    "simplejpeg": {
        "data/images.py",
        "data/jpeg.py",
        "data/datasets/imagenet/shrinking.py",
        "data/sources/synthetic_jpeg.py",
    },
    "PIL": {
        "data/images.py",
        "data/operations.py",
        "data/policies.py",
        "data/resize.py",
        "data/datasets/digits/builder.py",
        "exports/tensorflow_resize.py",
    },
    "ml_collections": {*(f"experiment/{name}.py" for name in EXPERIMENT), "command_line.py"},
}


def part(module: str) -> str:
    """The entry of LAYERS that a module belongs to: 'resnet_jax.data.sources.tfds' is of 'data.sources'."""
    names = module.split(".")[1:]
    return ".".join(names[:2]) if names[0] == "data" else names[0]


def layer(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if part(module) in names)


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
            if node.module in ("resnet_jax", "resnet_jax.data"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_point_one_way(path):
    own = module_name(path)
    for imported in imports(ast.walk(ast.parse(path.read_text()))):
        if imported.startswith("resnet_jax."):
            assert part(imported) == part(own) or layer(imported) < layer(own), f"{own} imports {imported}"


def test_every_module_has_a_layer():
    names = {part(name) for path in FILES if "." in (name := module_name(path)) and name != "resnet_jax.data"}
    assert names == set().union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_heavy_packages_are_imported_only_where_they_are_needed(path):
    found = {name.split(".")[0] for name in imports(outside_functions(ast.parse(path.read_text())))} & set(HEAVY)
    own = str(path.relative_to(PACKAGE))
    assert {name for name in found if own not in HEAVY[name]} == set()


@pytest.mark.parametrize(
    "path", [*FILES, ROOT / "main.py", *(ROOT / "configs").glob("*.py"), *(ROOT / "benchmarks").rglob("*.py")], ids=str
)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and path.parent.name != "configs":
            documented = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            body = node.body[1:] if documented else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            parameters = [a.arg for a in [*node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls")]
            assert length <= 40, f"{node.name} has {length} lines"
            assert len(parameters) <= 7, f"{node.name} has {len(parameters)} parameters"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_experiment_takes_a_config(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and path.parent.name != "experiment":
            names = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
            assert not names & {"config", "cfg", "args", "flags"}, node.name


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
    program = "import sys, resnet_jax.train, resnet_jax.data.sources.tfds; print('tensorflow' in sys.modules)"
    assert run(program) == "False\n"
