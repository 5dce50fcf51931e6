"""Finds the commands that documentation, docstrings and comments tell a reader to type."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.paths import ROOT

# The first words of the commands of this project.
_PROGRAM = re.compile(
    r"""(?<![\w/.-])(?P<program>
        (?:[\w.]+/)*python3?[\d.]*\ (?:main\.py|-m\ (?:resnet_jax|benchmarks|drill|fuzz)(?:\.\w+)*|benchmarks/\w+\.py)
        | main\.py(?=\ --)
        | resnet-jax-r1(?=\ --) | resnet-jax(?=\ --(?:config|workdir|mode|help))
        | make(?=\ [a-z])
        | launch/local\.sh(?=\ \d) | launch/tpu_vm\.sh(?=\ (?:run|status)) | launch/slurm\.sbatch(?=\ --)
    )(?![\w/.-])""",
    re.VERBOSE,
)
_FENCE = re.compile(r"^( *)```.*?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
# What follows a command on its line: a comment, a description in a second column, a pipe, a redirection.
_END = re.compile(r"\s#|\s{2,}|\s(?:\||&&|>|2>)\s|\s\((?=[a-z])|:\s|;|`")


class Documented(NamedTuple):
    """A command as a reader would type it."""

    where: str  # path of the file from the root of the project
    words: tuple[str, ...]  # as a shell would pass them; the first is the program, such as 'python main.py'

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def documented_commands() -> list[Documented]:
    """Returns every command of the README, docs/, launch/, docstrings and the notebook, without repetitions."""
    markdown = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    folders = ("resnet_jax", "configs", "benchmarks", "drill", "fuzz")
    code = [ROOT / "main.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    scripts = [ROOT / "Makefile", *(path for path in (ROOT / "launch").iterdir() if path.is_file())]
    found = [
        *(one for path in markdown for one in _of_file(path, commands_of_markdown(path.read_text()))),
        *(one for path in code for one in _of_file(path, _commands_of_docstrings(path))),
        *(one for path in scripts for one in _of_file(path, commands_of_comments(path.read_text()))),
        *(one for path in (ROOT / "notebooks").glob("*.ipynb") for one in _of_file(path, _commands_of_notebook(path))),
    ]
    return sorted(dict.fromkeys(found))


def _of_file(path: Path, commands: Iterator[tuple[str, ...]]) -> Iterator[Documented]:
    where = str(path.relative_to(ROOT))
    return (Documented(where, words) for words in commands)


def commands_of_markdown(text: str) -> Iterator[tuple[str, ...]]:
    """Yields the commands in the code blocks and in the code spans of a page."""
    for block in _FENCE.finditer(text):
        yield from _commands_of_lines(block[2])
    for span in _SPAN.findall(_FENCE.sub("", text)):
        yield from _commands_of_line(" ".join(span.split()))


def _commands_of_docstrings(path: Path) -> Iterator[tuple[str, ...]]:
    documented = (ast.Module, ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(path.read_text())):
        docstring = ast.get_docstring(node) if isinstance(node, documented) else None
        if docstring:
            yield from commands_of_prose(docstring)


def commands_of_comments(text: str) -> Iterator[tuple[str, ...]]:
    """Yields the commands in the comments of a shell script, a YAML file or a Makefile."""
    lines = [line.lstrip()[1:] for line in text.splitlines() if line.lstrip().startswith("#")]
    return commands_of_prose("\n".join(lines))


def commands_of_prose(text: str) -> Iterator[tuple[str, ...]]:
    """Yields the commands in code spans, and those at the beginning of a line, where 'Command:' may come first."""
    for span in _SPAN.findall(text):
        yield from _commands_of_line(" ".join(span.split()))
    for line in _joined(text):
        begin = re.match(r"\s*(?:Command:\s+|sbatch\s)?", line).end()
        if _PROGRAM.match(line, begin):
            yield from _commands_of_line(_without_end(line[begin:]))


def _commands_of_notebook(path: Path) -> Iterator[tuple[str, ...]]:
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from commands_of_markdown(text)
        else:
            yield from commands_of_prose(re.sub(r"^[!%]", "", text, flags=re.MULTILINE))


def _commands_of_lines(text: str) -> Iterator[tuple[str, ...]]:
    for line in _joined(text):
        yield from _commands_of_line(line)


def _joined(text: str) -> list[str]:
    r"""Returns the lines of a text; one that ends in \ or is continued by flags is one line with the next."""
    text = re.sub(r"\\\n\s*", "", text)
    return re.sub(r"\s*\n(?=\s*(?:--\w|main\.py ))\s*", " ", text).splitlines()


def _commands_of_line(line: str) -> Iterator[tuple[str, ...]]:
    position = 0
    while match := _PROGRAM.search(line, position):
        text = line[match.start("program") :]
        if line[: match.start("program")].count('"') % 2:  # the command is quoted: --command="python main.py"
            text = text.partition('"')[0]
        text = _without_end(text)
        position = match.start("program") + len(text)
        program = match["program"]
        words = [_plain(word) for word in shlex.split(_without_brackets(text[len(program) :]))]
        yield (re.sub(r"^\S*python[\d.]*", "python", program), *(word for word in words if word))


def _without_brackets(text: str) -> str:
    """Removes the brackets of what may be left out: '[--json FILE]'."""
    return re.sub(r"(?<=\s)\[([^\[\]]*)\]", r"\1", text)


def _plain(word: str) -> str:
    """Returns a word without the punctuation of a sentence; the first of 'ONE|TWO'; '' for '...'."""
    word = re.sub(r"^([\w-]+)\|[\w|-]+$", r"\1", word.rstrip(",:"))
    if word.count("(") < word.count(")"):
        word = word.rstrip(")")
    return "" if word == "..." else word


def _without_end(text: str) -> str:
    """Removes what follows a command: everything from the first end that is not inside of quotes."""
    for match in _END.finditer(text):
        before = text[: match.start()]
        if not before.count("'") % 2 and not before.count('"') % 2:
            return before
    return text
