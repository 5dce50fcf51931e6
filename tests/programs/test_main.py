import subprocess
import sys

import pytest

from resnet_jax.programs.command import MODES, default_workdir
from resnet_jax.programs.recipes import recipes
from tests.paths import ROOT

MAIN = [sys.executable, str(ROOT / "main.py")]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_modes_recipes_flags_and_exit_statuses(flag):
    done = subprocess.run([*MAIN, flag], capture_output=True, text=True, check=True)
    for words in (*(f"--mode={mode} " for mode in MODES), *(f"--config={name} " for name, _ in recipes())):
        assert words in done.stdout
    for words in ("--help_keys", "--helpfull", "--coordinator=", "  75  ", "python main.py --config=digits"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_helpfull_lists_the_flags_of_absl():
    done = subprocess.run([*MAIN, "--helpfull"], capture_output=True, text=True, check=False)
    assert "--join_timeout" in done.stdout and "--verbosity" in done.stdout


def test_the_module_is_the_same_command_line(tmp_path):
    command = [sys.executable, "-m", "resnet_jax", "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert "python -m resnet_jax --config=digits" in done.stdout


def test_mistakes_are_found_before_jax_is_loaded():
    program = (
        "import sys; from resnet_jax.programs import main, help_page; from absl import flags\n"
        "help_page.help_page()\n"
        "flags.FLAGS(['main.py', '--mode=plan', '--num_processes=2', '--config=configs/digits.py'])\n"
        "try: main._command([])\n"
        "except main.UsageError as error: print(error)\n"
        "print({'jax', 'numpy', 'tensorflow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "--mode=plan runs in one process: omit --coordinator, --num_processes and --process_id",
        "set()",
    ]


@pytest.mark.parametrize(
    ("config_file", "expected"),
    [
        ("configs/digits.py", "runs/digits"),
        ("/x/resnet50_fast.py:32", "runs/resnet50_fast-32"),
        ("/x/configs/run.py:/runs/a", "/runs/a"),
        ("/x/configs/run.py:runs/a/config.json", "runs/a"),
    ],
)
def test_the_default_work_directory_is_named_after_the_recipe(config_file, expected):
    assert default_workdir(config_file) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config=digits", "--workdir="], "--workdir is empty: name a directory, or leave the flag out"),
        (["--config=/dev/null"], "config file /dev/null is a device: give the path of a file or of a run, or one of"),
        (["--config=none"], "config file none does not exist: give the path of a file or of a run, or one of"),
    ],
)
def test_an_empty_directory_and_a_config_of_another_kind_are_one_line(words, message):
    done = subprocess.run([*MAIN, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1
