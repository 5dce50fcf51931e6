"""The translation of r1's command lines, and the page that explains it."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from resnet_jax import experiment
from resnet_jax.config_keys import check_bounds
from resnet_jax.configs import default
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.programs.r1_flags.table import FLAGS, HOOKS
from resnet_jax.programs.r1_flags.translate import main, translate
from resnet_jax.programs.r1_flags.words import parse
from tests import paths

PAGE = paths.ROOT / "docs" / "migrating_from_tf_r1.md"

# Long name, short name and a value of every flag that r1 defines.
INVENTORY = """
data_dir dd /data | model_dir md /runs/a | clean - | train_epochs te 30 | epochs_between_evals ebe 5
stop_threshold st 0.759 | batch_size bs 512 | num_gpus ng 4 | hooks hk ProfilerHook,stepcounterhook
export_dir ed /export | distribution_strategy ds Mirrored | run_eagerly -
inter_op_parallelism_threads inter 2 | intra_op_parallelism_threads intra 3 | use_synthetic_data synth
max_train_steps mts 110 | dtype dt fp16 | loss_scale ls 1024 | fp16_implementation - graph_rewrite
all_reduce_alg ara nccl | num_packs - 2 | tf_gpu_thread_mode gt_mode gpu_private | per_gpu_thread_count pgtc 2
datasets_num_private_threads - 14 | tf_data_experimental_slack -
data_format df channels_first
benchmark_logger_type - BenchmarkFileLogger | benchmark_log_dir bld /log | benchmark_test_id bti seven
log_steps - 50 | gcp_project gp p | bigquery_data_set bds s | bigquery_run_table brt r
bigquery_run_status_table brst t | bigquery_metric_table bmt m
worker_hosts - a:1,b:1 | task_index - 0
tpu - local | tpu_zone - z | tpu_gcp_project - p | num_tpu_shards - 16
resnet_size rs 101 | resnet_version rv 2 | fine_tune ft | pretrained_model_checkpoint_path pmcp /old | eval_only -
image_bytes_as_serving_input - | use_train_and_evaluate - | enable_lars - | label_smoothing - 0.1
weight_decay - 5e-5
"""
ROWS = [(*row.split(), None, None)[:3] for row in re.split(r"[|\n]", INVENTORY.strip())]
ROWS = [(name, None if short == "-" else short, value) for name, short, value in ROWS]


def together(*, short=False):
    """Returns a command line with all flags, alternately with one dash and two, with long or short names."""
    words = []
    for number, (name, abbreviation, value) in enumerate(ROWS):
        written = abbreviation if short and abbreviation else name
        dashes = "-" if number % 2 else "--"
        words += [f"{dashes}{written}"] if value is None else [f"{dashes}{written}", value]
    return words


def keys(*words):
    """Returns the overrides of the translated command by key, and its other words after 'main.py'."""
    command = translate(words).command
    assert command[:2] == ["python", "main.py"]
    pairs = [word.removeprefix("--config.").split("=", 1) for word in command if word.startswith("--config.")]
    return dict(pairs), [word for word in command[2:] if not word.startswith("--config.")]


def given(*words):
    """Returns the flags on a command line and their values."""
    return parse(words).given


def test_the_table_has_all_flags_of_r1():
    assert len(ROWS) == 51
    assert {(flag.name, flag.short) for flag in FLAGS} == {row[:2] for row in ROWS}


@pytest.mark.parametrize(("name", "short", "value"), ROWS, ids=[row[0] for row in ROWS])
def test_every_flag_is_accepted_by_both_names(name, short, value):
    for written in filter(None, (name, short)):
        if value is None:
            ways, off = [[f"--{written}"], [f"-{written}"], [f"--{written}=true"]], given(f"--no{written}")
            assert off == given(f"--{written}=0") == {name: False}
        else:
            ways = [[f"--{written}={value}"], [f"-{written}={value}"], [f"--{written}", value], [f"-{written}", value]]
        for words in ways:
            assert given(*words) == given(f"--{name}={value or True}")
            assert list(given(*words)) == [name]


def test_all_flags_together():
    assert translate(together()) == translate(together(short=True))
    assert len(keys(*together())[0]) > 20


def test_a_repeated_flag_has_its_last_value():
    assert given("-bs", "1", "--batch_size=2", "--clean", "--noclean") == {"batch_size": 2, "clean": False}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            "--resnet_size=50 --batch_size=256 --train_epochs=90 --data_dir=/data --num_gpus=8",
            "python main.py --config=configs/resnet50_r1.py --config.data.data_dir=/data "
            "--config.schedule.images_per_epoch=1281167",
        ),
        (
            "python imagenet_main.py -dd /data -md /runs/v2 -rv 2 -rs 101 -bs 1024 -ng 8 -ebe 4 -dt fp16 -st 0.76",
            "python main.py --config=configs/resnet50_r1.py --workdir=/runs/v2 --config.data.data_dir=/data "
            "--config.data.batch_size=1024 "
            "--config.schedule.images_per_epoch=1281167 --config.model.version=v2 --config.model.depth=101 "
            "--config.model.bn_group_size=128 --config.model.dtype=float16 --config.loss.scale=128.0 "
            "--config.eval.every_epochs=4.0 --config.eval.stop_at=0.76",
        ),
        (
            "PYTHONPATH=. python3 -m official.r1.resnet.imagenet_main --use_synthetic_data --max_train_steps=110 "
            "--num_gpus=1 --batch_size=128 --hooks=ExamplesPerSecondHook --tf_gpu_thread_mode=gpu_private",
            "python main.py --config=configs/resnet50_r1.py --config.data.source=synthetic "
            "--config.data.batch_size=128 --config.model.bn_group_size=128 --config.train.max_steps=110",
        ),
        (
            "imagenet_main.py --data_dir=/data --batch_size=32768 --num_gpus=-1 --enable_lars --label_smoothing=0.1",
            "python main.py --config=configs/resnet50_r1.py --config.data.data_dir=/data "
            "--config.data.batch_size=32768 "
            "--config.schedule.images_per_epoch=1281167 --config.loss.label_smoothing=0.1 --config.optimizer.name=lars "
            "--config.optimizer.weight_decay=0.0002 '--config.optimizer.decay_pattern=kernel$' "
            "--config.schedule.name=polynomial --config.schedule.base_lr=32.0 "
            "--config.schedule.base_batch_size=32768 --config.schedule.warmup_epochs=14.0 "
            "--config.schedule.decay_epochs=90.02557668126013 --config.schedule.end=3.125e-06",
        ),
        (
            "./imagenet_main.py --data_dir=/data -ng 8 -bs 256 -ft -pmcp /old -te 10 -ls dynamic -dt bf16",
            "python main.py --config=configs/resnet50_r1.py --config.data.data_dir=/data "
            "--config.schedule.images_per_epoch=1281167 "
            "--config.model.init_from=/old --config.model.init_statistics=False "
            "--config.model.dtype=bfloat16 --config.loss.scale=32768.0 "
            "--config.loss.scale_growth_steps=2000 --config.train.trainable=head "
            "--config.train.freeze_statistics=False --config.schedule.base_lr=0.1 "
            "--config.schedule.warmup_epochs=0.0 --config.train.epochs=10.0",
        ),
        (
            "--model=cifar10 --data_dir='my data'",
            "python main.py --config=configs/cifar10_r1.py '--config.data.data_dir=my data' "
            "--config.schedule.images_per_epoch=50000",
        ),
        (
            "cifar10_main.py --eval_only --model_dir=/runs/a --resnet_size=110 --weight_decay=1",
            "python main.py --config=configs/cifar10_r1.py --mode=eval --workdir=/runs/a "
            "--config.data.data_dir=/tmp/cifar10_data/cifar-10-batches-bin "
            "--config.schedule.images_per_epoch=50000 --config.model.depth=110 "
            "--config.eval.checkpoint=/runs/a",
        ),
        (
            "imagenet_main.py --train_epochs=0 -dd /data -bs 256 -ng 8",
            "python main.py --config=configs/resnet50_r1.py --mode=eval --config.data.data_dir=/data "
            "--config.schedule.images_per_epoch=1281167",
        ),
        (
            "cifar10_main.py --eval_only -pmcp /r1/model.ckpt-7 -dd /c",
            "python main.py --config=configs/cifar10_r1.py --mode=eval --config.data.data_dir=/c "
            "--config.schedule.images_per_epoch=50000 "
            "--config.eval.checkpoint=/r1/model.ckpt-7",
        ),
        (
            "cifar10_main.py --train_epochs=0 -md 7 -pmcp /r1/model.ckpt-7 -dd /c",
            "python main.py --config=configs/cifar10_r1.py --mode=eval --workdir=7 --config.data.data_dir=/c "
            "--config.schedule.images_per_epoch=50000 "
            "--config.eval.checkpoint=./7",
        ),
        (
            "cifar10_main.py --label_smoothing=0.1 -dd /c -bs 64 --worker_hosts=a:1,b:1 --task_index=0 "
            "--datasets_num_private_threads 4",
            "python main.py --config=configs/cifar10_r1.py --coordinator=a:1 --num_processes=2 --process_id=0 "
            "--config.data.data_dir=/c --config.data.num_threads=4 --config.schedule.images_per_epoch=50000 "
            "--config.model.bn_group_size=64",
        ),
    ],
)
def test_whole_command_lines(line, command):
    assert shlex.join(translate(shlex.split(line)).command) == command


def test_fine_tuning_sets_the_learning_rate_only_on_imagenet():
    trainable = {"train.trainable": "head", "train.freeze_statistics": "False"}
    rate = {"schedule.base_lr": "0.1", "schedule.warmup_epochs": "0.0"}
    for words, wanted in (
        (["-dd", "/d", "-bs", "256", "-ng", "8"], trainable | rate),
        (["--model=cifar10"], trainable),
    ):
        with_it, without = keys(*words, "--fine_tune")[0], keys(*words)[0]
        assert {key: value for key, value in with_it.items() if without.get(key) != value} == wanted
    lars = keys("--enable_lars")[0]
    assert keys("--enable_lars", "--fine_tune")[0] == lars | trainable


def test_defaults_of_r1_that_differ_from_the_recipe_become_overrides():
    # By default `imagenet_main.py` uses batches of 32 and one GPU, whose batch norm statistics cover the whole batch.
    epoch = {"schedule.images_per_epoch": "1281167"}
    assert keys()[0] == {"data.data_dir": "/tmp", "data.batch_size": "32"} | epoch
    assert keys("-bs", "256")[0] == {"data.data_dir": "/tmp", "model.bn_group_size": "256"} | epoch
    found = translate([]).notes
    assert found == {
        "data_dir": "not given: r1's default is /tmp",
        "batch_size": "not given: r1's default is 32",
    }
    assert "over the whole batch" in translate(["-bs", "256"]).notes["num_gpus"]


@pytest.mark.parametrize(
    ("batch_size", "peak", "warmup_epochs"),
    [(8191, 5, 5), (8192, 10, 5), (16383, 10, 5), (16384, 25, 5), (32767, 25, 5), (32768, 32, 14)],
)
def test_the_learning_rates_of_lars_equal_r1s(batch_size, peak, warmup_epochs):
    found = {"schedule.warmup_epochs": "5.0"} | keys(f"--batch_size={batch_size}", "--enable_lars")[0]
    assert float(found["schedule.base_lr"]) == peak
    assert float(found["schedule.warmup_epochs"]) == warmup_epochs
    assert found["schedule.base_batch_size"] == str(batch_size)  # so that base_lr is the peak
    assert float(found["schedule.end"]) * peak == pytest.approx(1e-4)
    assert float(found["optimizer.weight_decay"]) == 2e-4


LINES = [
    "--data_dir=/d",
    "-bs 2048 -ng 8 -dt fp16 -ls dynamic --label_smoothing=0.1 --weight_decay=5e-5 -te 3 -ebe 2 -st 0.7 -mts 9",
    "-bs 64 --enable_lars --hooks=ProfilerHook --log_steps=7 --datasets_num_private_threads=3 -rs 18 -rv 2",
    "--use_synthetic_data -ft -dt bf16 -ls 64",
    "--model=cifar10 -rs 20 -dt fp16 -bs 32 -synth",
    "--model=cifar10 --enable_lars -ft -ebe 1 -te 2 --label_smoothing=0.1",
    shlex.join(together()),
]


@pytest.mark.parametrize("line", LINES)
def test_every_override_is_a_key_with_a_valid_value(line):
    command = translate(shlex.split(line)).command
    recipe = importlib.import_module(f"resnet_jax.configs.{Path(command[2]).stem}")
    settings = applied(recipe.get_config(), command[3:])
    got, recipe_values = flatten(settings.to_dict()), flatten(recipe.get_config().to_dict())
    overrides = keys(*shlex.split(line))[0]
    assert {key for key in got if got[key] != recipe_values[key]} == set(overrides)
    assert all(str(got[key]) == value for key, value in overrides.items())
    check_bounds(default.KEYS, got)


def applied(settings, words):
    """Applies the overrides of a command line to a config as main.py does."""
    argv, values = ["main.py", *words], flags.FlagValues()
    parsed = config_flags.DEFINE_config_dict("config", settings, flag_values=values, sys_argv=argv)
    for name in ("workdir", "mode", "coordinator", "num_processes", "process_id"):
        flags.DEFINE_string(name, None, "", flag_values=values)
    values(argv)  # fails on an unknown key and on a value of another type
    return parsed.value


@pytest.mark.parametrize(
    ("line", "part", "words"),
    [
        ("-bs 64 -rs 18 -rv 2 -dt fp16 -ls dynamic", "model", "resnet-18 v2, .* float16, batch norm over the whole"),
        ("-bs 64 -ng 8 --enable_lars -mts 9", "model", "resnet-50 v1.5, 25,559,081 parameters, .* in 8 groups of 8"),
        ("--model=cifar10 -ft -rs 20", "model", "resnet_cifar-20 v1.5"),
    ],
)
def test_translations_build(line, part, words):
    assert re.search(words, built(line).reporting.description[part])


def built(line):
    command = translate([*shlex.split(line), "--use_synthetic_data"]).command
    recipe = importlib.import_module(f"resnet_jax.configs.{Path(command[2]).stem}")
    return experiment.build(applied(recipe.get_config(), command[3:]))


@pytest.mark.parametrize(
    "line", ["-bs 16 -rs 18 -rv 2 -dt fp16 -ls dynamic", "--model=cifar10 -ft -rs 8 --enable_lars"]
)
def test_translations_have_a_training_step(line):
    translated = built(line)
    jax.eval_shape(
        translated.computation.train_step,
        jax.eval_shape(translated.computation.init),
        translated.data.train_loader.batch(0).batch,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--bacth_size=3", "--bacth_size is not a flag of r1's ResNet: did you mean --batch_size"),
        ("--frobnicate", "--frobnicate is not a flag of r1's ResNet: docs/migrating_from_tf_r1.md lists all flags"),
        ("--nobatch_size", "--nobatch_size is not a flag of r1: --batch_size is not a switch"),
        ("clean=true", "'clean=true' is not a flag: write --name=value, also for switches"),
        ("--clean=maybe", "--clean=maybe is neither true nor false"),
        ("imagenet_main.py --batch_size", "--batch_size needs a value: write --batch_size=VALUE"),
        ("--batch_size=many", "--batch_size=many is not an integer"),
        ("--weight_decay=heavy", "--weight_decay=heavy is not a number"),
        ("--batch_size=0", "--batch_size=0 is out of range: it must be at least 1"),
        ("--num_gpus=-2", "--num_gpus=-2 is out of range: it must be at least -1"),
        ("--dtype=fp64", "--dtype=fp64 is not one of fp16, bf16, fp32"),
        ("--data_format=NHWC", "--data_format=NHWC is not one of channels_first, channels_last"),
        ("--resnet_version=3", "--resnet_version=3 is not one of 1, 2"),
        ("--resnet_size=51", "--resnet_size=51 is not one of 18, 34, 50, 101, 152, 200"),
        ("cifar10_main.py --resnet_size=50.0", "--resnet_size=50.0 is not 6n+2"),
        ("cifar10_main.py --resnet_size=52", "--resnet_size=52 is not 6n+2"),
        ("cifar10_main.py --resnet_size=2", "--resnet_size=2 is not 6n+2"),
        ("--batch_size=100 --num_gpus=8", "--batch_size=100 is not divisible by --num_gpus=8: use 96 or 104"),
        ("--batch_size=4 --num_gpus=8", "--batch_size=4 is not divisible by --num_gpus=8: use 8"),
        ("--distribution_strategy=off --num_gpus=2 -bs 2", "--distribution_strategy=off uses one GPU in r1, not 2"),
        ("--distribution_strategy=tree", "--distribution_strategy=tree is not one of off, default, one_device"),
        ("-ds parameter_server", "--distribution_strategy=parameter_server has no equivalent"),
        ("--worker_hosts=a:1,b:2", "--worker_hosts names 2 hosts: add --task_index"),
        ("--loss_scale=-1", "--loss_scale=-1 is neither a positive number nor 'dynamic'"),
        ("--loss_scale=auto", "--loss_scale=auto is neither a positive number nor 'dynamic'"),
        ("--fp16_implementation=graph_rewrite", "--fp16_implementation=graph_rewrite requires --dtype=fp16 in r1"),
        ("--hooks=LoggingTensorHook,Captain", "--hooks=captain is not one of LoggingTensorHook, ProfilerHook"),
        ("--benchmark_logger_type=BenchmarkFileLogger", "needs --benchmark_log_dir in r1: give both or neither"),
        ("cifar10_main.py --image_bytes_as_serving_input", "is for ImageNet only in r1: omit it"),
        ("--model=mnist", "--model=mnist is not one of imagenet, cifar10"),
    ],
)
def test_invalid_command_lines_are_errors(line, message):
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        translate(shlex.split(line))
    assert "\n" not in str(error.value)


def test_every_flag_that_is_ignored_or_differs_has_a_note(capsys):
    main(together())
    lines = capsys.readouterr().out.splitlines()
    noted = dict(re.fullmatch(r"# --(\w+): (.+)", line).groups() for line in lines if line.startswith("#"))
    same = {"data_dir", "model_dir", "train_epochs", "epochs_between_evals", "stop_threshold", "batch_size"}
    same |= {"dtype", "loss_scale", "resnet_size", "resnet_version", "fine_tune", "weight_decay", "task_index"}
    same |= {"image_bytes_as_serving_input"}  # without --export_dir it would have a note
    assert set(noted) == {row[0] for row in ROWS} - same | {"stop_threshold"}  # with --use_train_and_evaluate
    assert subprocess.run(["sh", "-n"], input="\n".join(lines), text=True, check=False).returncode == 0


@pytest.mark.parametrize("words", [["--model=cifar10", "-dd", "my data"], ["--enable_lars", "-bs", "1024"]])
def test_a_shell_parses_the_printed_command_into_the_same_words(words, capsys):
    main(words)
    printed = capsys.readouterr().out
    program = 'python() { printf "%s\\n" "$@"; }\n' + printed
    read = subprocess.run(["sh"], input=program, capture_output=True, text=True, check=True).stdout
    assert ["python", *read.splitlines()] == translate(words).command
    assert max(len(line) for line in printed.splitlines() if not line.startswith("#")) <= 120


@pytest.mark.parametrize(
    ("line", "name", "note"),
    [
        ("-rv 1", "resnet_version", "r1's version 1 is 'v1.5' here"),
        ("-dt bf16", "dtype", "bfloat16 works here; r1 accepts the value, but its model rejects it"),
        ("-ls dynamic", "loss_scale", "needs graph_rewrite in r1"),
        ("-dt fp16 --fp16_implementation=graph_rewrite", "fp16_implementation", "loss scale of 128"),
        ("-ng -1", "num_gpus", "set --config.model.bn_group_size"),
        ("-ng 0", "num_gpus", "JAX_PLATFORMS=cpu"),
        ("--enable_lars", "enable_lars", "weight_decay is doubled"),
        ("--eval_only -pmcp /old", "pretrained_model_checkpoint_path", "evaluated with its last layer"),
        ("--eval_only -md /a -pmcp /old", "pretrained_model_checkpoint_path", "ignored: the checkpoint in --model_dir"),
        ("--eval_only -md /a", "eval_only", "evaluates the newest checkpoint in --model_dir"),
        ("--eval_only", "eval_only", "without --model_dir, evaluates the newest checkpoint in runs/"),
        ("--model=cifar10 --weight_decay=1", "weight_decay", "ignored: r1 always uses 2e-4 on CIFAR-10"),
        ("--model=cifar10 --label_smoothing=0.1", "label_smoothing", "ignored, as r1 does on CIFAR-10"),
        ("--train_epochs=0", "train_epochs", "without --model_dir, evaluates the newest checkpoint in runs/"),
        ("--hooks=", "hooks", "log lines are always written"),
        ("--hk PROFILERHOOK", "hooks", "one trace for TensorBoard"),
    ],
)
def test_notes_that_depend_on_the_value(line, name, note):
    assert note in translate(shlex.split(line)).notes[name]


def test_a_switch_that_is_off_needs_no_note():
    words = [f"--no{row[0]}" for row in ROWS if row[2] is None]
    assert translate(words) == translate([])


def test_it_loads_neither_jax_nor_tensorflow_and_an_error_is_one_line():
    program = (
        "import sys; from resnet_jax.programs.r1_flags.translate import main;"
        "main(['--batch_size=64']); sys.stdout.flush();"
        "assert not {'jax', 'numpy', 'flax', 'tensorflow'} & set(sys.modules), sorted(sys.modules); main(['--no'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stdout.startswith("python main.py --config=configs/resnet50_r1.py ")
    assert done.stderr.startswith("error: --no is not a flag of r1's ResNet: ")


def test_outside_of_a_checkout_the_command_names_the_recipe(tmp_path):
    command = [sys.executable, "-m", "resnet_jax.programs.r1_flags", "--use_synthetic_data"]
    environment = {"PYTHONPATH": str(PAGE.parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("resnet-jax --config=resnet50_r1 --config.data.source=synthetic")


def table(title):
    """Returns the rows of the tables in a section of the page as lists of cells."""
    section = re.split(r"\n## ", PAGE.read_text())
    (body,) = [text for text in section if text.startswith(title + "\n")]
    rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not re.fullmatch(r"[-| ]*", "|".join(row))]


def test_the_page_has_a_row_for_each_flag():
    found = [re.fullmatch(r"`--(\w+)`(?:, `-(\w+)`)?", row[0]) for row in table("Flags")]
    names = [match.groups() for match in found if match]
    assert sorted(names, key=str) == sorted([(flag.name, flag.short) for flag in FLAGS], key=str)


def test_the_page_has_a_row_for_each_hook_and_file():
    hooks = table("Hooks, metrics and logs")
    assert set(HOOKS) <= {name for row in hooks for name in re.findall(r"`(\w+Hook)`", row[0])}
    files = """
        imagenet_main.py imagenet_preprocessing.py cifar10_main.py cifar10_download_and_extract.py resnet_model.py
        resnet_run_loop.py estimator_benchmark.py cifar10_test.py imagenet_test.py layer_test.py
        utils/flags/_base.py utils/flags/_performance.py utils/flags/_misc.py
        utils/flags/_benchmark.py utils/flags/_distribution.py utils/flags/_device.py utils/flags/core.py
        utils/flags/_conventions.py utils/logs/hooks.py utils/logs/hooks_helper.py utils/logs/metric_hook.py
        utils/logs/logger.py utils/logs/cloud_lib.py utils/logs/mlperf_helper.py utils/export.py
        utils/misc/distribution_utils.py utils/misc/model_helpers.py utils/misc/keras_utils.py
        utils/testing/integration.py
    """
    assert set(files.split()) <= {name for row in table("Files") for name in re.findall(r"`([\w/]+\.py)`", row[0])}


def test_every_config_key_on_the_page_exists():
    known = set(flatten(default.get_config().to_dict()))
    beginnings = "|".join(default.get_config())
    named = set(re.findall(rf"`(?:--config\.)?((?:{beginnings})\.[a-z_.]+)", PAGE.read_text()))
    assert len(named) > 20
    assert {name for name in named - known if not name.endswith((".py", ".log"))} == set()
