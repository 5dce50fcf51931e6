import errno
import os
import warnings

import pytest

from resnet_jax import errors
from resnet_jax.errors import NonFiniteError, UsageError

NAMES = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "quota", errno.EROFS: "read-only", errno.EIO: "input/output"}


class WriterError(Exception):
    """The type of a tracker or of TensorFlow."""


def raised(error, *, cause=None, context=None):
    """Returns `error` after it was raised from `cause`, or while `context` was handled."""
    try:
        if cause:
            raise error from cause
        try:
            raise context
        except OSError:
            raise error  # noqa: B904
    except WriterError as found:
        return found


@pytest.mark.parametrize("number", NAMES)
@pytest.mark.parametrize("kind", ["own", "text", "cause", "context", "group"])
def test_an_error_of_the_disk_is_recognized_in_any_type(number, kind):
    disk = OSError(number, os.strerror(number), "/runs/x")
    error = {
        "own": lambda: disk,
        "text": lambda: WriterError(f"events.v2; {os.strerror(number)}\n[Op:FlushSummaryWriter]"),
        "cause": lambda: raised(WriterError("sync failed"), cause=disk),
        "context": lambda: raised(WriterError("sync failed"), context=disk),
        "group": lambda: ExceptionGroup("writers", [WriterError("a"), disk]),
    }[kind]()
    with pytest.raises(UsageError, match=NAMES[number]) as found, errors.disk_full_as_usage_error("to continue"):
        raise error
    assert "\n" not in str(found.value) and str(found.value).endswith("run the same command again to continue")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        OSError(errno.ENOENT, "no", "f"),
        UsageError(os.strerror(28)),
        NonFiniteError("No space left on device", step=1),
    ],
)
def test_other_errors_are_raised_as_they_are(error):
    with pytest.raises(type(error)) as found, errors.disk_full_as_usage_error("to continue"):
        raise error
    assert found.value is error


def test_a_full_shared_memory_is_not_called_a_disk():
    with (
        pytest.raises(UsageError, match=r"^shared memory .*num_workers=0") as found,
        errors.disk_full_as_usage_error("x"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "/dev/shm/psm_1")
    assert "disk" not in str(found.value)


def test_a_path_without_permission_or_of_too_long_a_name():
    for number in (errno.EACCES, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EEXIST):
        with (
            pytest.raises(UsageError, match=r"^/x/y cannot be used \(") as found,
            errors.unusable_path_as_usage_error(),
        ):
            raise OSError(number, os.strerror(number), b"/x/y")
        assert "give another path" in str(found.value)
    with pytest.raises(OSError, match="no"), errors.unusable_path_as_usage_error():
        raise OSError(errno.EACCES, "no")


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))]
)
def test_a_limit_on_threads_or_processes(error):
    with pytest.raises(UsageError, match="ulimit -u") as found, errors.process_limit_as_usage_error():
        raise error
    assert "num_workers" in str(found.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("another"), BlockingIOError(errno.EAGAIN, "write could not complete without blocking")]
)
def test_other_errors_are_no_limit_on_processes(error):
    with pytest.raises(type(error)) as found, errors.process_limit_as_usage_error():
        raise error
    assert found.value is error


def test_a_platform_that_is_not_there(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nosuch")
    for statement in ("raise RuntimeError('Unable to initialize backend')", "assert False"):
        code = compile(statement, "/x/jax/_src/xla_bridge.py", "exec")
        with (
            pytest.raises(UsageError, match="^JAX cannot start the devices of JAX_PLATFORMS=nosuch") as found,
            errors.missing_platform_as_usage_error(),
        ):
            exec(code)
        assert "JAX_PLATFORMS=cpu" in str(found.value)
    with pytest.raises(AssertionError), errors.missing_platform_as_usage_error():
        raise AssertionError("of this program")


@pytest.mark.parametrize(
    ("library", "variable", "file"),
    [
        ("JAX", "JAX_LOG_COMPILES", "/x/jax/_src/config.py"),
        ("matplotlib", "MPLBACKEND", "/x/matplotlib/rcsetup.py"),
        ("tqdm", "TQDM_MININTERVAL", "/x/tqdm/std.py"),
    ],
)
def test_a_value_that_a_library_refuses(library, variable, file, monkeypatch):
    code = compile("raise ValueError('no\\nsuch')", file, "exec")
    monkeypatch.delenv(variable, raising=False)
    for other in [name for name in os.environ if name.startswith(("JAX_", "MPL", "TQDM_"))]:
        monkeypatch.delenv(other)
    with pytest.raises(ValueError, match="such"), errors.wrong_variable_as_usage_error():
        exec(code)
    monkeypatch.setenv(variable, "maybe")
    with pytest.raises(UsageError) as found, errors.wrong_variable_as_usage_error():
        exec(code)
    expected = (
        f"{library} refuses the value of an environment variable (no such): correct or unset it (set: {variable}=maybe)"
    )
    assert str(found.value) == expected
    with pytest.raises(ValueError, match="own"), errors.wrong_variable_as_usage_error():
        raise ValueError("of our own")


def test_a_directory_at_the_new_name_of_a_file_is_named(tmp_path):
    (tmp_path / "x.part").touch()
    (tmp_path / "x").mkdir()
    with (
        pytest.raises(UsageError, match=rf"^{tmp_path}/x cannot be used \(Is a directory\): move away what is there"),
        errors.unusable_path_as_usage_error(),
    ):
        (tmp_path / "x.part").replace(tmp_path / "x")


def test_a_warning_that_python_raises_is_one_line():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = r"DeprecationWarning: old\), .* unset PYTHONWARNINGS"
        with pytest.raises(UsageError, match=expected) as found, errors.warning_as_usage_error():
            warnings.warn("old\nand more", DeprecationWarning, stacklevel=1)
    assert "\n" not in str(found.value)
