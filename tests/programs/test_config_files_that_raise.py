"""Config files are code: whatever they raise is one line, with the file and, where known, the line."""

import pytest

from resnet_jax.programs import command_line

BEGIN = "from resnet_jax.configs import default\n"


def message_of(file, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.parse(["main.py", f"--config={file}"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


LAZY = {
    "required": "from ml_collections.config_dict import required_placeholder\n"
    "def get_config():\n    c = default.get_config()\n    c.train.epochs = required_placeholder(float)\n    return c\n",
    "division": "from ml_collections.config_dict import FieldReference\n"
    "def get_config():\n    c = default.get_config()\n    c.train.epochs = FieldReference(1.0) / 0.0\n    return c\n",
    "number as key": "def get_config():\n    c = default.get_config().unlock()\n    c[7] = 3\n    return c\n",
    "itself": "def get_config():\n    c = default.get_config().unlock()\n    c.me = c\n    return c\n",
}


@pytest.mark.parametrize("name", LAZY)
def test_values_that_cannot_be_computed(name, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(BEGIN + LAZY[name])
    assert f"config file {file}" in message_of(file, capsys)


@pytest.mark.parametrize("error", ["GeneratorExit()", "BaseExceptionGroup('a', [KeyError('b')])", "BaseException('c')"])
def test_errors_that_are_no_exceptions(error, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(f"raise {error}\n")
    assert f"config file {file}, line 1: " in message_of(file, capsys)


def test_an_error_that_contains_itself(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("error = ValueError()\nerror.args = (error,)\nraise error\n")
    assert f"config file {file}, line 3: " in message_of(file, capsys)


def test_ctrl_c_is_not_caught(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        command_line.parse(["main.py", f"--config={file}"])
