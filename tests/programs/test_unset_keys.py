import json
import subprocess
import sys

import pytest

from resnet_jax.config_keys import build_config
from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError
from resnet_jax.programs.unset_keys import split_unset
from tests.paths import ROOT

PROGRAM = """
import json, sys
from absl import flags
from ml_collections import config_flags
from resnet_jax.programs import command_line
config_flags.DEFINE_config_file("config", None)
command_line.parse(sys.argv)
print(flags.FLAGS.config.to_json())
"""


def parse(*words):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'main.py'\n{PROGRAM}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


def test_every_optional_key_can_be_set_to_none_and_no_other_key():
    config = build_config(KEYS)
    for key in KEYS:
        argv = ["main.py", "--config=digits", f"--config.{key.name}=None", "--mode=plan"]
        if key.optional:
            assert split_unset(argv) == (["main.py", "--config=digits", "--mode=plan"], (key.name,))
            config.update_from_flattened_dict({key.name: None})
        else:
            with pytest.raises(UsageError, match=rf"^config.{key.name}=None: this key needs a value; its default is "):
                split_unset(argv)


@pytest.mark.parametrize(
    ("words", "left", "keys"),
    [
        (["--config.train.max_steps", "None"], [], ("train.max_steps",)),
        (["-config.train.max_steps=None"], [], ("train.max_steps",)),
        (
            ["--config.train.max_steps=3", "--config.train.max_steps=None"],
            ["--config.train.max_steps=3"],
            ("train.max_steps",),
        ),
        (["--config.train.max_steps=None", "--config.train.max_steps=3"], ["--config.train.max_steps=3"], ()),
        (["--config.train.max_steps=None", "--config.train.max_steps", "3"], ["--config.train.max_steps", "3"], ()),
        (
            ["--config.data.name=NoneSuch", "--workdir=None", "None"],
            ["--config.data.name=NoneSuch", "--workdir=None", "None"],
            (),
        ),
        (["--config.no.such=None"], ["--config.no.such=None"], ()),
    ],
)
def test_the_last_flag_of_a_key_counts_and_other_words_stay(words, left, keys):
    assert split_unset(["main.py", *words]) == (["main.py", *left], keys)


def test_none_and_a_number_after_a_recipe_that_sets_the_key():
    """`finetune` sets these three keys; the parser of ml_collections sees the same command line."""
    flags = ("--config.model.init_from=None", "--config.data.eval_split", "None", "--config.model.bn_group_size=None")
    out, err = parse("--config=finetune", *flags, "--config.train.epochs=None", "--config.data.batch_size=7")
    config = json.loads(out)
    assert (
        err == "" and config["model"]["init_from"] is config["data"]["eval_split"] is config["train"]["epochs"] is None
    )
    assert config["model"]["bn_group_size"] is None and config["data"]["batch_size"] == 7
    assert parse("--config=finetune", "--config.model.depth=None") == (
        "",
        "error: config.model.depth=None: this key needs a value; its default is 50\n",
    )
