"""Published command lines of r1 are accepted or refused as r1 does, and their flags have the values that r1 gives."""

import re
import shlex
from pathlib import Path

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.r1_flags.translate import translate
from resnet_jax.programs.r1_flags.words import parse, split_off_program
from tests.programs.r1_flags.absl_r1 import accepted

FILE = Path(__file__).parent / "command_lines.txt"
ROWS = [row.split(" | ") for row in FILE.read_text().splitlines() if not row.startswith("#")]
# Flags that the last version of r1 does not define: lines with them were written for earlier versions.
EARLIER = ("--version", "--datasets_num_parallel_batches", "--enable_xla")
LAST_VERSION = [row for row in ROWS if not {word.partition("=")[0] for word in shlex.split(row[2])} & set(EARLIER)]


@pytest.mark.parametrize(("source", "verdict", "line"), ROWS, ids=[str(number) for number in range(len(ROWS))])
def test_published_command_lines(source, verdict, line):
    if verdict == "accept":
        assert translate(shlex.split(line)).command
        return
    refused, _, message = verdict.partition(": ")
    assert refused == "refuse", source
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        translate(shlex.split(line))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("source", "verdict", "line"), LAST_VERSION, ids=range(len(LAST_VERSION)))
def test_the_verdict_and_the_values_are_those_of_absl(source, verdict, line):
    model, words = split_off_program(shlex.split(line))
    values = accepted(words, cifar=model == "cifar10")
    assert (values is not None) == (verdict == "accept"), source
    if values is not None:
        given = {name: value for name, value in parse(words).given.items() if name != "fp16_implementation"}
        assert given == {name: values[name] for name in given}


def test_there_are_fifty():
    assert len({line for _, _, line in ROWS}) >= 50
    assert sum(verdict == "accept" for _, verdict, _ in ROWS) >= 35


WORDS = [
    "--batch_size=0x100 --max_train_steps=0x10 --log_steps 0o17",
    "--batch_size=0X100",
    "--batch_size=08",
    "--batch_size=0x",
    "--batch_size=1e3",
    "-bs 64 --nofine_tune --eval_only=T --clean=f",
    "--clean false --batch_size=64",
    "-- --batch_size=64",
    "--num_gpus=2 - 7 --batch_size=64 words --fine_tune",
    "--clean= --batch_size=64",
    "--noclean=true",
    "--hooks=ProfilerHook,,stepcounterhook --weight_decay 1e-3 --stop_threshold=.7",
    "--verbosity=1 --alsologtostderr -v 0 --nologtostderr --batch_size=16",
    "--undefok=foo,bar --foo --nobar --foo=3 --batch_size=16",
    "--undefok foo --foo --batch_size=16",
    "--foo --batch_size=16",
    "--all_reduce_alg=ring",
    "--all_reduce_alg=hierarchical_copy",
    "--all_reduce_alg=ring --distribution_strategy=multi_worker_mirrored",
    "--all_reduce_alg=hierarchical_copy --distribution_strategy=Multi_Worker_Mirrored",
    "--dtype=fp16 --loss_scale=dynamic",
    "--dtype=FP16",
    "--loss_scale=-1",
    "--data_dir",
    "--data_dir= --batch_size=2",
    "--data_dir --batch_size=2",
]


@pytest.mark.parametrize("cifar", [False, True])
@pytest.mark.parametrize("text", WORDS)
def test_words_are_read_as_absl_reads_them(text, cifar):
    words = shlex.split(text)
    values = accepted(words, cifar=cifar)
    program = "cifar10_main.py" if cifar else "imagenet_main.py"
    if values is None:
        with pytest.raises(UsageError):
            translate([program, *words])
        return
    assert translate([program, *words]).command
    given = parse(words).given
    assert given == {name: values[name] for name in given}


def test_files_of_flags_are_read_as_absl_reads_them(tmp_path):
    inner, outer = tmp_path / "inner.txt", tmp_path / "outer.txt"
    inner.write_text("--batch_size=64\n\n  --fine_tune  \n--flagfile=" + str(outer))
    outer.write_text(f"# a comment\n// another\n--flagfile={inner}\n--resnet_size=18\n--nofoo\n--undefok=foo\n")
    words = ["--batch_size=8", f"--flagfile={outer}", "--train_epochs", "3"]
    values = accepted(words, cifar=False)
    given = parse(words).given
    assert given == {"batch_size": 64, "fine_tune": True, "resnet_size": "18", "train_epochs": 3}
    assert given == {name: values[name] for name in given}
    with pytest.raises(UsageError, match=r"--flagfile=nowhere cannot be read \(No such file or directory\): name a"):
        parse(["--flagfile", "nowhere"])


@pytest.mark.parametrize(
    ("line", "keys", "name", "note"),
    [
        ("--version 2", "--config.model.version=v2", "version", "the former name of --resnet_version"),
        ("--epochs_per_eval=3", "--config.eval.every_epochs=3.0", "epochs_per_eval", "former name"),
        ("--multi_gpu", "", "multi_gpu", "now --num_gpus=-1"),
        ("--turn_off_distribution_strategy", "", "turn_off_distribution_strategy", "distribution_strategy=off"),
        ("--num_parallel_calls=4", "--config.data.num_threads=4", "num_parallel_calls", "number of threads"),
        ("-npc 4", "--config.data.num_threads=4", "num_parallel_calls", "number of threads"),
        ("--datasets_num_parallel_batches=2", "", "datasets_num_parallel_batches", "ignored: two batches"),
        ("--enable_xla", "", "enable_xla", "ignored: all steps are compiled by XLA"),
        ("--log_dir=/l --pdb", "", "log_dir", "ignored: messages go to stderr and to train.log"),
        ("--verbosity=1", "--verbosity=1", None, ""),
        (
            "--fine_tune False -rv 2",
            "--config.model.version=v2",
            "the word 'False'",
            "write --name=value, for example --fine_tune=False",
        ),
        ("-bs 8 --image_bytes_as_serving_input", "", "image_bytes_as_serving_input", "ignored without --export_dir"),
        ("-pmcp /old", "--config.model.init_statistics=False", "pretrained_model_checkpoint_path", "start at 0 and 1"),
    ],
)
def test_flags_of_earlier_versions_and_of_absl(line, keys, name, note):
    found = translate(["imagenet_main.py", *shlex.split(line)])
    assert not keys or keys in found.command
    assert name is None or note in found.notes[name]


def test_a_fork_and_the_keras_programs_get_an_explanation():
    for line, words in (
        ("--skip_eval", "it belongs to the Keras programs next to r1"),
        ("--use_horovod", "it belongs to a fork of r1"),
        ("--learning_rate=0.1", "its rate is --config.schedule.base_lr"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            translate(["imagenet_main.py", line])


def test_exporting_is_a_second_command():
    line = "imagenet_main.py -dd /d -md /m -bs 64 -dt fp16 --export_dir=/e/"
    export = translate(shlex.split(line)).export
    assert export[:3] == ["python", "main.py", "--config=configs/resnet50_r1.py"]
    assert export[3:5] == ["--mode=export", "--workdir=/m"]
    assert export[-5:] == [
        "--config.export.dir=/e/export",
        '--config.export.formats=("saved_model",)',
        "--config.export.dtype=float16",
        "--config.export.signatures=r1_tensor",
        "--config.export.batch_size=64",
    ]
    assert translate(shlex.split(line.partition(" --export_dir")[0])).export == []
    jpeg = translate([*shlex.split(line), "--image_bytes_as_serving_input", "--eval_only"])
    assert "--config.export.signatures=r1_image_bytes" in jpeg.export
    assert "--config.eval.checkpoint=/m" in jpeg.export and "--mode=eval" in jpeg.command
