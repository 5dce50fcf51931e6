"""Recipes, the named configs in `configs/`: lists them, finds the file of --config, gives the command to train one."""

import ast
import importlib
from pathlib import Path

from ml_collections import ConfigDict

from resnet_jax import configs
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import check_workdir, is_bucket, local_path
from resnet_jax.storage.objects import normalized

FOLDER = Path(configs.__file__).parent
RUN = FOLDER / "run.py"  # config file that loads the config of an existing run, which is its argument
_OTHER_FILES = ("__init__", "default", "mode_keys", "run")  # files in `FOLDER` that are not recipes


def recipes() -> list[tuple[str, str]]:
    """Returns the name and the first line of the docstring of every recipe, sorted by name."""
    files = sorted(path for path in FOLDER.glob("*.py") if path.stem not in _OTHER_FILES)
    return [(path.stem, _first_line(path)) for path in files]


def locate(value: str) -> tuple[Path, list[str]]:
    """Returns the config file of --config=VALUE, and a list that contains its argument or is empty.

    VALUE is the name of a recipe such as 'digits', the path of a config file, or an existing run: its work directory
    such as 'runs/first', or the config.json in it. A recipe or a file may be followed by ':ARGUMENT'.
    """
    name, *argument = value.split(":", 1)
    if is_bucket(value):
        return RUN, [normalized(value, name="--config")]
    if argument and is_bucket(argument[0]):
        return Path(name), argument
    check_workdir(value, name="--config")
    recipe = FOLDER / f"{name}.py"
    if name.isidentifier() and recipe.is_file():
        return recipe, argument
    if value and (value.endswith(".json") or local_path(value, name="--config").is_dir()):
        return RUN, [value]
    return Path(name), argument


def get_recipe(name: str, *argument: str) -> ConfigDict:
    """Returns the config of a recipe, for example `get_recipe('digits')` or `get_recipe('resnet50_fast', '32')`.

    Raises:
      UsageError: there is no recipe of that name.
    """
    names = [known for known, _ in recipes()]
    if name not in names:
        raise UsageError(f"{name!r} is not a recipe: the recipes are {', '.join(names)}")
    config: ConfigDict = importlib.import_module(f"{configs.__name__}.{name}").get_config(*argument)
    return config


def launcher() -> list[str]:
    """Returns the start of a command line: 'python main.py' in a checkout, else the console script 'resnet-jax'."""
    return ["python", "main.py"] if Path("main.py").is_file() and Path("configs").is_dir() else ["resnet-jax"]


def command(recipe: str) -> list[str]:
    """Returns the command that trains a recipe, as a list of arguments."""
    path = Path("configs", f"{recipe}.py")
    return [*launcher(), f"--config={path if path.is_file() and launcher()[0] == 'python' else recipe}"]


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
