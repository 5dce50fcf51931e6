"""A file that a flag, a config key or a result directory names may be anything: each is one line, and none hangs."""

import contextlib

import pytest

from resnet_jax.data.several_labels import labels_from_file
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment.sweep import make_sweep
from resnet_jax.programs import flag_files
from resnet_jax.programs.evaluation.answers import read
from resnet_jax.programs.export.hub_folder import certificates_of
from resnet_jax.programs.r1_flags.words import parse
from resnet_jax.weights.select import read_class_names
from tests.kinds_of_files import NO_FILES
from tests.tiny import tiny_config

SOURCE = open_source("synthetic", training=False, num_train=1, num_eval=1, num_classes=10)


READERS = {
    "config.model.class_names": lambda path: read_class_names(str(path)),
    "config.eval.labels": lambda path: labels_from_file(str(path), SOURCE),
    "config.sweep.file": lambda path: make_sweep(tiny_config({"sweep.file": str(path)})),
    "--flagfile": lambda path: flag_files.expand(["main.py", f"--flagfile={path}"]),
    "--flagfile of r1": lambda path: parse([f"--flagfile={path}"]),
    "answers.npz": read,
}


@pytest.mark.parametrize(("kind", "make"), NO_FILES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(reader, kind, make, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(UsageError, match="cannot be read|another path") as raised:
        READERS[reader](tmp_path / "x")
    assert "\n" not in str(raised.value)


CONTENTS = {
    "nested": b"[" * 100_000,
    "nested keys": b"a = " + b"[" * 100_000,
    "not UTF-8": b"\xff\xfe\xfa",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "cut": b'{"a": ',
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("reader", READERS)
def test_foreign_content_is_one_line_or_read(reader, content, tmp_path):
    (tmp_path / "x").write_bytes(CONTENTS[content])
    reads_any_text = reader in ("config.model.class_names", "--flagfile", "--flagfile of r1")
    with pytest.raises(UsageError) if not reads_any_text else contextlib.suppress(UsageError) as raised:
        READERS[reader](tmp_path / "x")
    assert raised is None or "\n" not in str(raised.value)


@pytest.mark.parametrize("labels", ["[[1e400]]", "[[-1]]", "[[10]]", '{"12": 1}', '["12"]', "[[true]]", "[1]", "null"])
def test_labels_of_another_form_or_range_are_refused(labels, tmp_path):
    (tmp_path / "real.json").write_text(labels)
    with pytest.raises(UsageError, match=r"real.json (is not a JSON list of lists|has label -?1)"):
        labels_from_file(str(tmp_path / "real.json"), SOURCE)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weights": 1}', "[" * 100_000, "x"])
def test_a_certificate_of_another_form_is_one_line(content, tmp_path):
    (tmp_path / "evaluations" / "one").mkdir(parents=True)
    (tmp_path / "evaluations" / "one" / "certificate.json").write_text(content)
    with pytest.raises(UsageError, match=r"certificate.json cannot be read .*: move its directory away"):
        certificates_of(tmp_path / "evaluations", "0")
