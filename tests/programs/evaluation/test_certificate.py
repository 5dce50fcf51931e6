import json
import math

import pytest

from resnet_jax.programs.evaluation import certificate
from resnet_jax.training.metrics import Totals
from tests.programs.evaluation.example import SUBJECT, counted, written


def test_the_directory_name_contains_step_data_size_and_kind():
    assert certificate.directory_name(SUBJECT)[:-6] == "808-digits-1.0.0-test-50-16px-trained-"


def test_moved_weights_keep_the_name_and_other_weights_or_kernels_change_it():
    moved = SUBJECT | {"weights": SUBJECT["weights"] | {"path": "/moved/808"}}
    assert certificate.directory_name(moved) == certificate.directory_name(SUBJECT)
    others = [
        SUBJECT | {"weights": SUBJECT["weights"] | {"sha256": "cd" * 32}},
        SUBJECT | {"preprocessing": {"image_size": 16, "resize": "bicubic"}},
    ]
    assert len({certificate.directory_name(subject) for subject in [SUBJECT, *others]}) == 3


@pytest.mark.parametrize("totals", [Totals(7, 3, 5, 3.0), Totals(6, 4, 5, 3.0)])
def test_answers_that_disagree_with_the_totals_are_an_error(totals):
    with pytest.raises(ValueError, match="confusion matrix"):
        counted(totals)


def test_numbers_that_are_not_finite_are_null(tmp_path):
    written(tmp_path / "one", Totals(6, 3, 5, math.nan), outputs=6)
    content = json.loads((tmp_path / "one" / "certificate.json").read_text())
    assert content["eval"] == {"loss": None, "top1": 0.5, "top5": 5 / 6, "count": 6}
    assert content["not_finite"]["count"] == 1


def test_five_outputs_have_no_top_5(tmp_path):
    content = written(tmp_path / "one", outputs=5)
    assert (content["eval"]["top5"], content["right"]["top5"], content["interval"]["top5"]) == (None, None, None)
    assert (content["eval"]["top1"], content["right"]["top1"]) == (0.5, 3)
    six = written(tmp_path / "two", outputs=6)
    assert (six["eval"]["top5"], six["right"]["top5"]) == (5 / 6, 5) and six["interval"]["top5"][1] < 1
