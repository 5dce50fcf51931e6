"""--flagfile=FILE: its flags count as if typed; a file that is none, or never ends, is one line."""

import os

import pytest
from absl import flags

from resnet_jax.errors import UsageError
from resnet_jax.programs import command_line, main  # noqa: F401  defines the flags
from resnet_jax.programs.flag_files import expand

LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections loads a config file


def test_the_flags_of_files_stand_in_their_place(tmp_path):
    (tmp_path / "inner").write_text("--b=2\n")
    (tmp_path / "outer").write_text(f"# a comment\n--a=1\n\n--flagfile={tmp_path}/inner\n")
    words = expand(["main.py", "--x=0", f"--flagfile={tmp_path}/outer", "--c=3", "image.jpg"])
    assert words == ["main.py", "--x=0", "--a=1", "--b=2", "--c=3", "image.jpg"]
    assert expand(["main.py", "--flagfile", f"{tmp_path}/inner"]) == ["main.py", "--b=2"]
    assert expand(["main.py", "--flagfile="]) == ["main.py"]


def test_no_flags_and_a_file_without_lines(tmp_path):
    (tmp_path / "empty").write_text("")
    assert expand(["main.py"]) == ["main.py"] == expand(["main.py", f"--flagfile={tmp_path}/empty"])


@pytest.mark.parametrize("kind", ["missing", "fifo", "/dev/zero", "directory", "not text", "itself", "large"])
def test_a_file_that_cannot_be_read_is_one_line(kind, tmp_path):
    file = tmp_path / "flags"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind not in {"missing", "/dev/zero"}:
        content = {"not text": b"--a=\xff\n", "itself": f"--flagfile={file}\n".encode(), "large": bytes(2**20 + 1)}
        file.write_bytes(content[kind])
    given = kind if kind == "/dev/zero" else file
    with pytest.raises(UsageError, match=f"^--flagfile={given} ") as raised:
        expand(["main.py", f"--flagfile={given}"])
    assert "\n" not in str(raised.value)


def test_many_files_that_name_each_other(tmp_path):
    for number in range(100):
        (tmp_path / str(number)).write_text(f"--flagfile={tmp_path / str(number + 1)}\n")
    with pytest.raises(UsageError, match="contain each other"):
        expand(["main.py", f"--flagfile={tmp_path / '0'}"])


@pytest.fixture
def parsed():
    """Returns the flags of this process, which are not parsed again after the test."""
    yield flags.FLAGS
    flags.FLAGS.unparse_flags()
    command_line.WORDS.clear()


@LOADS
def test_config_and_keys_in_a_file_and_keys_of_earlier_versions_count(tmp_path, parsed):
    (tmp_path / "flags").write_text("--config=digits\n--config.data.batch_size=7\n--config.log.tensorboard=False\n")
    command_line.parse(["main.py", f"--flagfile={tmp_path}/flags"])
    assert parsed.config.data.batch_size == 7
    assert parsed.config.log.trackers == ()


def message_of(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.parse(argv)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    return error


@LOADS
def test_an_error_when_the_config_file_is_run_again_names_its_line(tmp_path, capsys, parsed):
    file = tmp_path / "mine.py"
    start = "import os\nfrom resnet_jax.configs import default\ndef get_config():\n"
    file.write_text(f"{start}    os.mkdir({str(tmp_path / 'made')!r})\n    return default.get_config()\n")
    assert f"config file {file}, line 4: FileExistsError" in message_of(["main.py", f"--config={file}"], capsys)
    file.write_text(
        f"{start}    if os.path.exists({str(file)!r}): os.remove({str(file)!r}); return default.get_config()\n"
    )
    message_of(["main.py", f"--config={file}"], capsys)


@LOADS
def test_a_line_break_in_a_value_does_not_split_the_error_line(capsys, parsed):
    assert "\\nb" in message_of(["main.py", "--config=no\nb"], capsys)
