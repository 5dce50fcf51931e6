"""Mistakes in config files are one line with file, line number and cause; missing streams; values in every mode."""

import subprocess
import sys

import pytest

from resnet_jax.config_keys import build_config
from resnet_jax.configs.default import KEYS
from resnet_jax.nested import flatten
from resnet_jax.programs import command_line
from tests.paths import ROOT

START = "from resnet_jax.configs import default\ndef get_config():\n    config = default.get_config()\n"
# Line 4 of a config file -> words of the message.
MISTAKES = {
    "    1 / 0": "ZeroDivisionError: division by zero",
    "    open('/no/such')": "FileNotFoundError: [Errno 2] No such file or directory: '/no/such'",
    "    import no_such_package": "ModuleNotFoundError: No module named 'no_such_package'",
    "    undefined": "NameError: name 'undefined' is not defined",
    "    assert config is None": "AssertionError",
    "    raise Exception": "Exception",
    "    raise RuntimeError('two\\nlines')": "RuntimeError: two lines",
    "    raise SystemExit(3)": "SystemExit: 3",
    "    {}['a']": "KeyError: a",
    "    [][1]": "IndexError: list index out of range",
    "    f = lambda: f(); f()": "RecursionError: ",
    "    b'\\xff'.decode()": "'utf-8' codec can't decode",
    "    config.data.batch_size = 10.5 ** 400": "OverflowError: ",
    "    config.data.batch_size = 'x'": "",
    "    config.no.such = 3": "",
    "    x = = 3": "SyntaxError: invalid syntax",
    "   return config": "IndentationError: ",
    "    raise MemoryError": "MemoryError",
    "    raise ExceptionGroup('several', [ValueError('a')])": "ExceptionGroup: several",
    "    class Odd(Exception): __str__ = None\n    raise Odd": "Odd",
}


def message_of(file, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line._load(str(file))
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.out == "" and printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("error: ") and len(printed.err) < 400
    return printed.err


@pytest.mark.parametrize("line", MISTAKES)
def test_every_exception_is_one_line_with_file_line_number_and_cause(tmp_path, capsys, line):
    file = tmp_path / "mine.py"
    file.write_text(f"{START}{line}\n    return config\n")
    number = 4 + line.count("\n")
    assert f"config file {file}, line {number}: {MISTAKES[line]}" in message_of(file, capsys)


def test_a_mistake_in_an_imported_file_has_the_line_that_leads_to_it(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_by_mine.py").write_text("x = = 3\n")
    file = tmp_path / "mine.py"
    file.write_text(f"{START}    import imported_by_mine\n")
    assert f"config file {file}, line 4: SyntaxError: " in message_of(file, capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no function get_config"),
        ("get_config = 3\n", "has no function get_config"),
        ("def get_config():\n    return None\n", "get_config returns a NoneType instead of a ConfigDict"),
        ("def get_config():\n    return {'a': 1}\n", "get_config returns a dict instead of a ConfigDict"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'lr': 1})\n",
            "has no key 'average.checkpoints': let get_config change and return default.get_config()",
        ),
        (
            f"{START}    config.unlock()\n    config.lr = 3\n    return config\n",
            "has the key 'lr', which does not exist",
        ),
        ("def get_config(size):\n    return size\n", "missing 1 required positional argument"),
        ("\0", "null bytes"),
    ],
)
def test_a_config_file_of_another_kind(tmp_path, capsys, content, words):
    file = tmp_path / "mine.py"
    file.write_text(content)
    assert words in message_of(file, capsys)


def test_a_config_file_that_is_not_text(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_bytes(b"x = '\xff'\n")
    assert f"config file {file}" in message_of(file, capsys)


@pytest.mark.parametrize("name", ["abfs://bucket/run", "~nobody9/run", "https://host/config.py", "gs://bucket"])
def test_an_address_is_no_config(name, capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["main.py", f"--config={name}"])
    assert capsys.readouterr().err.startswith(f"error: --config={name} ")


def test_values_are_checked_in_every_mode_before_anything_else(capsys):
    values = flatten(build_config(KEYS).to_dict())
    command_line._check_values(values)
    for change in ({"train.epochs": 1e30}, {"export.dir": "s3://b/x"}, {"data.data_dir": "~nobody9/x"}):
        with pytest.raises(command_line.UsageError, match=f"^config.{next(iter(change))}="):
            command_line._check_values(values | change)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_missing_streams_are_replaced_before_a_file_gets_their_number(closed, tmp_path):
    program = (
        "import sys, os; from resnet_jax.programs.command_line import open_missing_streams as o; o()\n"
        "print('x'); print('y', file=sys.stderr); sys.stdin.read()\n"
        f"open({str(tmp_path / 'number')!r}, 'w').write(str(os.open(os.devnull, os.O_RDONLY)))\n"
    )
    command = f'"$0" -c "$1" {closed if "<" in closed else closed + " </dev/null"}'
    done = subprocess.run(["bash", "-c", command, sys.executable, program], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "number").read_text()) > 2


def test_a_full_stdout_is_one_line():
    for flag in ("--help", "--help_keys"):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = subprocess.run(
                [sys.executable, "main.py", flag], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (
            2,
            "error: stdout cannot be written (No space left on device): send it elsewhere\n",
        )
