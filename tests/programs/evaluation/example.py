"""The results of an evaluation of six images, for the tests of its files and log lines."""

import numpy as np

from resnet_jax.programs.evaluation import certificate, result_directory
from resnet_jax.training.metrics import NO_ANSWER, Answers, Totals

NAMES = ['a, "b"', "c\nd", "\udcff猫"]
SUBJECT = {
    "weights": {"sha256": "ab" * 32, "path": "/runs/one/checkpoints/808", "step": 808, "kind": "trained"},
    "network": {"model.depth": 8},
    "data": {"name": "digits:1.0.0/test[:50%]", "examples": 6},
    "classes": {"number": 3, "outputs": 4, "fingerprint": "00"},
    "preprocessing": {"image_size": 16, "resize": "area"},
}
ANSWERS = Answers(
    np.array([0, 0, 0, 1, 2, 2, 0], np.int32), np.array([0, 0, 1, 1, 3, NO_ANSWER, 0], np.int32), np.arange(7) < 6
)
TOTALS = Totals(count=6, top1=3, top5=5, loss=3.0)


def counted(totals=TOTALS):
    return certificate.count_answers([ANSWERS], totals, num_classes=3, num_outputs=4)


def written(directory, totals=TOTALS, outputs=4):
    """Writes the results into `directory`; returns the certificate, which claims that the network has `outputs`."""
    subject = SUBJECT | {"classes": SUBJECT["classes"] | {"outputs": outputs}}
    content = certificate.make_certificate(subject, totals, counted(), [ANSWERS])
    result_directory.begin(directory)
    result_directory.finish(directory, content, counted(), certificate.output_names(NAMES, 4))
    return content
