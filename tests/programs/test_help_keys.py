import subprocess
import sys

import pytest

from resnet_jax.configs import default
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.programs.help_keys import help_keys, keys_pattern
from resnet_jax.programs.recipes import get_recipe
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ([], None),
        (["--config=digits", "--workdir=help_keys"], None),
        (["--help_keys"], ""),
        (["-help_keys"], ""),
        (["--help_keys=eval"], "eval"),
        (["--help_keys", "eval"], "eval"),
        (["--help_keys", "--config=digits"], ""),
        (["--config=digits", "--help_keys="], ""),
    ],
)
def test_the_pattern_of_the_flag(words, pattern):
    assert keys_pattern(words) == pattern


def test_all_keys_are_listed_with_default_type_bound_effect_and_comment():
    text = help_keys()
    assert text.count("--config.") == len(default.KEYS)
    assert text.startswith("--config.seed=0\n    int, at least 0, below 2^32; fixed once a run has checkpoints; ")
    assert help_keys("eval.every_steps") == (
        "--config.eval.every_steps=None\n"
        "    int or None, at least 1, at most 2,147,483,647; may change when a run continues\n"
        "    steps between evaluations; overrides every_epochs"
    )
    assert "    float or None, at least 0, at most 1,000,000,000; fixed" in help_keys("base_lr")
    assert "    float, at least 0, below 1; fixed" in help_keys("label_smoothing")
    assert "    tuple, increasing numbers above 0; fixed" in help_keys("schedule.boundaries")
    assert "str; fixed once a run has checkpoints, also for --mode=eval" in help_keys("^model.name$")


def test_a_pattern_is_a_regular_expression_or_the_beginning_of_a_flag():
    listed = help_keys("^log|top_k").splitlines()
    assert [line for line in listed if line.startswith("--")] == [
        "--config.log.every_steps=None",
        "--config.log.inputs=True",
        "--config.log.trackers=('tensorboard',)",
        "--config.predict.top_k=5",
    ]
    assert help_keys("--config.log[.]") == help_keys("log[.]")


def test_the_value_of_the_named_config_comes_first():
    recipe = flatten(get_recipe("digits").to_dict())
    text = help_keys("^log.every|^log.inputs|^data.image_size", values=recipe, name="digits")
    assert "--config.data.image_size=16\n    the value in digits; the default is 224\n    int, at least 1, " in text
    assert "--config.log.every_steps=100\n    the value in digits; the default is None\n" in text
    assert "--config.log.inputs=True\n    bool; " in text
    changed = {key.name for key in default.KEYS if recipe[key.name] != key.default}
    assert help_keys("", values=recipe, name="digits").count("the value in digits") == len(changed) > 10


@pytest.mark.parametrize(("pattern", "message"), [("(", "not a regular expression"), ("zebra", "sections seed, data,")])
def test_a_pattern_that_finds_nothing(pattern, message):
    with pytest.raises(UsageError, match=message):
        help_keys(pattern)


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["--help_keys", "log.every"], 0, "--config.log.every_steps=None\n", ""),
        (["--config=digits", "--help_keys", "log.every"], 0, "--config.log.every_steps=100\n", ""),
        (["--config=nothing", "--help_keys", "log.every"], 2, "", "error: config file nothing does not exist: "),
        (["--config=nothing", "--help_keys=zebra"], 2, "", "error: --help_keys=zebra matches no config key: "),
    ],
)
def test_the_flag_of_the_program(words, status, out, err):
    done = subprocess.run([sys.executable, "main.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert (done.stdout.startswith(out), done.stderr.startswith(err)) == (True, True)
    assert bool(done.stdout) == bool(out) and bool(done.stderr) == bool(err)
