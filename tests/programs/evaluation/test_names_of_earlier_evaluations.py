"""An evaluation has the directory name of earlier versions unless it uses a setting that they did not have."""

import jax

from resnet_jax import experiment
from resnet_jax.programs.evaluation.certificate import describe_subject, directory_name
from resnet_jax.weights.select import SelectedWeights
from tests.tiny import tiny_config


def subject(changes):
    evaluation = experiment.build_evaluation(tiny_config(changes), devices=jax.devices()[:1])
    return describe_subject(
        evaluation, SelectedWeights(evaluation.computation.shapes, "/weights/4", 4, "trained", "0" * 64, None)
    )


def test_only_the_fast_dct_is_part_of_the_name():
    before, fast = subject({}), subject({"data.fast_dct": True})
    assert "fast_dct" not in before["preprocessing"] and fast["preprocessing"]["fast_dct"]
    assert directory_name(before) != directory_name(fast)
