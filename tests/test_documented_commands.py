"""Every command in the documentation, in docstrings and in comments of launch/ is accepted by its parser."""

import argparse
import importlib
import inspect
import json
import re
import subprocess
import sys

import pytest

from resnet_jax.configs.default import KEYS
from resnet_jax.programs.command import MODES
from resnet_jax.programs.r1_flags.translate import translate
from resnet_jax.programs.recipes import get_recipe, locate
from tests.documented_commands import commands_of_comments, commands_of_markdown, commands_of_prose, documented_commands
from tests.paths import ROOT

COMMANDS = documented_commands()
OWN = ("python main.py", "main.py", "python -m resnet_jax", "resnet-jax")
LAUNCHED = ("launch/local.sh", "launch/slurm.sbatch", "launch/tpu_vm.sh")
R1 = ("python -m resnet_jax.programs.r1_flags", "resnet-jax-r1")
TYPES = {key.name: key.optional or type(key.default) for key in KEYS}
# Words that stand for something which the reader has to choose.
PLACEHOLDERS = {
    "--config=RECIPE": "--config=digits",
    "--config=configs/RECIPE.py": "--config=digits",
    "--mode=MODE": "--mode=train",
    "PATTERN": "lr",
}


def of(*programs):
    return [command for command in COMMANDS if command.words[0] in programs]


def test_commands_of_all_kinds_are_found():
    found = {re.sub(r"benchmarks[/.]\w+(\.py)?", "benchmarks", command.words[0]) for command in COMMANDS}
    assert found >= {"python main.py", "resnet-jax", "make", "python -m drill", "python -m fuzz", "python benchmarks"}
    assert found >= {*LAUNCHED, R1[0]} and len(COMMANDS) > 150
    modes = {word for command in of(*OWN) for word in command.words if word.startswith("--mode=")}
    assert modes - {"--mode=MODE"} == {f"--mode={mode}" for mode in MODES if mode != "train"}, "modes without a command"


MARKDOWN = """
Run `python main.py --mode=plan`, or `python main.py --config=digits
--config.seed=1`. Then:
```
$ python main.py --config.data.batch_size=8 \\
    --config.log.trackers='("a",)'   # as make demo
more    python main.py --workdir=runs/a
        --config.seed=2 | tail
mpirun -n 4 .venv/bin/python main.py --mode=eval > log
gcloud --command="python main.py --config=x" --zone=y
```
A sentence (`make test`), the word make and `main.py`.
"""


def test_what_is_taken_from_a_page():
    assert [" ".join(words) for words in commands_of_markdown(MARKDOWN)] == [
        """python main.py --config.data.batch_size=8 --config.log.trackers=("a",)""",
        "make demo",
        "python main.py --workdir=runs/a --config.seed=2",
        "python main.py --mode=eval",
        "python main.py --config=x",
        "python main.py --mode=plan",
        "python main.py --config=digits --config.seed=1",
        "make test",
    ]


def test_what_is_taken_from_docstrings_and_comments():
    prose = (
        "What it does.\n\nCommand:   python main.py --config=a   (or: something)\n\n    python -m drill [--kills N]\n"
    )
    assert list(commands_of_prose(prose)) == [("python main.py", "--config=a"), ("python -m drill", "--kills", "N")]
    comments = "#!/bin/bash\n# sbatch launch/slurm.sbatch --config=a \\\n#    --workdir=b\nmake no_comment\n"
    assert list(commands_of_comments(comments)) == [("launch/slurm.sbatch", "--config=a", "--workdir=b")]


def keys_added_by(page):
    """The config keys that the diffs of docs/extending.md declare."""
    return set(re.findall(r'^ *\+ *Key\("([\w.]+)"', (ROOT / page).read_text(), re.MULTILINE))


def concrete(command, runs):
    """Returns the words for the parser: placeholders such as RUN and N are replaced by a run and a number."""
    flags = [word for word in command.words[1:] if "KEY=VALUE" not in word]
    if command.words[0] in LAUNCHED:
        flags = [word for word in flags if re.match(r"--(config|workdir|mode|join_timeout|stall_timeout)", word)]
        flags = flags or ["--help"]
    if command.words[0] == "main.py" and len(flags) == 1:  # only the name of a mode
        flags.append("--config=digits")
    mode = next((word.removeprefix("--mode=") for word in flags if word.startswith("--mode=")), "train")
    if not MODES[mode if mode in MODES else "train"].takes_paths and "--help_keys" not in flags:
        flags = [
            word for word in flags if word.startswith("-")
        ]  # words of the sentence in which a program names a command
    flags = [PLACEHOLDERS.get(word, word) for word in flags]
    added = keys_added_by(command.where)
    for position, word in enumerate(flags):
        name, _, value = word.partition("=")
        key = name.removeprefix("--config.")
        if key in added:
            flags[position] = "--config.seed=0"
        elif value.isupper() and TYPES.get(key) in (int, float):
            flags[position] = f"{name}=1"
        elif name == "--workdir" or (name == "--config" and ("://" in value or not locate(value)[0].is_file())):
            flags[position] = f"{name}={runs.add(value)}"
    return flags


class Runs:
    """Makes a work directory for each name of a run in the documentation."""

    def __init__(self, directory):
        self.directory = directory

    def add(self, name):
        path = self.directory / re.sub(r"\W", "-", name)
        if not path.exists():
            path.mkdir()
            (path / "config.json").write_text(get_recipe("digits").to_json())
        return path


def test_own_commands_are_parsed(tmp_path):
    commands = [command for command in of(*OWN, *LAUNCHED) if len(command.words) > 1]
    runs = Runs(tmp_path)
    given = [concrete(command, runs) for command in commands]
    program = [sys.executable, "-m", "tests.parsing_process"]
    bad = ["--config=digits", "--config.data.batchsize=3"]
    done = subprocess.run(
        program, input=json.dumps([bad, *given]), cwd=ROOT, check=True, text=True, capture_output=True
    )
    caught, *messages = json.loads(done.stdout)
    assert "there is no 'batchsize'" in caught
    wrong = [f"{one}: {message}" for one, message in zip(commands, messages, strict=True) if message]
    assert not wrong, "\n".join(wrong)


def test_flags_of_the_launcher_for_tpus_exist():
    script = (ROOT / "launch" / "tpu_vm.sh").read_text()
    for command in of("launch/tpu_vm.sh"):
        for word in command.words[2:]:
            flag = word.partition("=")[0]
            assert f"\t\t{flag}" in script or flag.startswith("--config.") or flag in script.split("case $1")[1], (
                command
            )


@pytest.mark.parametrize("command", of(*R1), ids=str)
def test_commands_of_r1_are_translated(command):
    words = [word for word in command.words[1:] if word != "--FLAG"]
    assert translate(words).command


def test_config_keys_and_modes_that_are_named_alone_exist():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(path for path in (ROOT / "launch").glob("*.*"))]
    sections = {name.rpartition(".")[0] for name in TYPES}
    for page in pages:
        text = page.read_text()
        known = {"section.key", *TYPES, *sections, *keys_added_by(str(page.relative_to(ROOT)))}
        keys = set(re.findall(r"--config\.([a-z]\w*(?:\.\w+)*)", text))
        assert keys <= known, f"{page.name}: {keys - known}"
        modes = set(re.findall(r"--mode=([a-z]\w*)", text))
        assert modes <= set(MODES), f"{page.name}: {modes - set(MODES)}"


class ParsedError(Exception):
    """Raised after the flags of a program were parsed."""


@pytest.fixture
def only_parsed(monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: None)


def module_of(program):
    """'python benchmarks/table.py' -> 'benchmarks.table', 'python -m drill' -> 'drill.__main__'."""
    name = program.removeprefix("python ").removeprefix("-m ").removesuffix(".py").replace("/", ".")
    return f"{name}.__main__" if name in ("drill", "fuzz") else name


OTHERS = [one for one in COMMANDS if re.match(r"python (-m )?(benchmarks|drill|fuzz)\b", one.words[0])]


@pytest.mark.parametrize("command", [one for one in OTHERS if "REQUEST" not in one.words], ids=str)
def test_commands_of_benchmarks_drill_and_fuzz_are_parsed(command, only_parsed, monkeypatch):
    name = module_of(command.words[0])
    if re.search(r"^import torch", (ROOT / name.replace(".", "/")).with_suffix(".py").read_text(), re.MULTILINE):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    numbers = dict.fromkeys(("N", "P", "D", "S", "SECONDS", "SEED"), "1")
    words = [numbers.get(word, "images" if word == "TARGET" else word) for word in command.words[1:]]
    if len(command.words) == 1 and not hasattr(module, "argparse"):  # a program without flags
        return
    monkeypatch.setattr(sys, "argv", [command.words[0], *words])
    with pytest.raises((ParsedError, SystemExit)) as ended:
        module.main(*([words] if inspect.signature(module.main).parameters else []))
    assert ended.type is ParsedError or (ended.value.code == 0 and "--help" in words), command


def test_targets_and_variables_of_make_exist():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)", text, re.MULTILINE)[1].split())
    variables = set(re.findall(r"\$\((?:or \$\()?([A-Z]+)\b", text))
    for command in of("make"):
        for word in command.words[1:]:
            name, equals, _ = word.partition("=")
            assert name in (variables if equals else targets) or word.startswith("-"), command
