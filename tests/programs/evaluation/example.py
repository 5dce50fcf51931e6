"""The results of an evaluation of six images, for the tests of its files and log lines."""

import numpy as np

from resnet_jax.programs.evaluation import answers, certificate, result_directory
from resnet_jax.programs.evaluation.result_directory import Results
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.training.scores import INVERSE_TEMPERATURES, NO_ANSWER, TOP, Scores

NAMES = ['a, "b"', "c\nd", "\udcff猫"]
SUBJECT = {
    "weights": {"sha256": "ab" * 32, "path": "/runs/one/checkpoints/808", "step": 808, "kind": "trained"},
    "network": {"model.depth": 8},
    "data": {"name": "digits:1.0.0/test[:50%]", "examples": 6},
    "classes": {"number": 3, "outputs": 4, "fingerprint": "00"},
    "preprocessing": {"image_size": 16, "resize": "area"},
}


def scores_of(logits, label):
    """The scores of logits [N, K] in float64 arithmetic; rows with NaN, and of label -1, have no answer."""
    logits = np.asarray(logits, np.float64)
    top_logit = logits.max(axis=1, keepdims=True)
    log_p = logits - top_logit - np.log(np.exp(logits - top_logit).sum(axis=1, keepdims=True))
    order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    known = (np.asarray(label) >= 0) & ~np.isnan(logits).any(axis=1)
    own = np.take_along_axis(log_p, np.asarray(label)[:, None], axis=1)[:, 0]
    return Scores(
        top=np.where(known[:, None], order, NO_ANSWER).astype(np.int32),
        log_probability=np.take_along_axis(log_p, order, axis=1).astype(np.float32),
        label_log_probability=np.where(np.asarray(label) >= 0, own, np.nan).astype(np.float32),
        log_partition=np.stack([np.log(np.exp(b * log_p).sum(axis=1)) for b in INVERSE_TEMPERATURES], axis=1),
    )


def answers_of(label, predicted, mask=None, *, num_outputs=4):
    """Answers with these labels and predictions; a prediction has the logit 1, every other class 0."""
    label, predicted = np.array(label, np.int32), np.array(predicted, np.int32)
    logits = np.where(np.arange(num_outputs) == predicted[:, None], 1.0, 0.0)
    logits[predicted == NO_ANSWER] = np.nan
    mask = np.ones(len(label), bool) if mask is None else np.array(mask)
    return Answers(label, predicted, mask, scores_of(logits, label))


ANSWERS = answers.join([answers_of([0, 0, 0, 1, 2, 2, 0], [0, 0, 1, 1, 3, NO_ANSWER, 0], np.arange(7) < 6)])
TOTALS = Totals(count=6, top1=3, top5=5, loss=3.0)


def counted(totals=TOTALS):
    return certificate.count_answers(ANSWERS, totals, num_classes=3, num_outputs=4)


def results(names=NAMES, totals=TOTALS, outputs=4):
    """The results, with a certificate that claims that the network has `outputs`."""
    subject = SUBJECT | {"classes": SUBJECT["classes"] | {"outputs": outputs}}
    content = certificate.make_certificate(subject, totals, counted(), ANSWERS, batch_size=7)
    output_names = certificate.output_names(names, 4)
    stored = answers.to_store(ANSWERS, subject, output_names, (f"{k}.jpg" for k in range(6)))
    return Results(content, counted(), output_names, stored)


def written(directory, totals=TOTALS, outputs=4):
    """Writes the results into `directory`; returns the certificate."""
    content = results(totals=totals, outputs=outputs)
    result_directory.begin(directory)
    result_directory.finish(directory, content)
    return content.certificate
