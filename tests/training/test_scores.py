import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training.metrics import predicted_class
from resnet_jax.training.scores import INVERSE_TEMPERATURES, NO_ANSWER, score
from tests.programs.evaluation.example import scores_of


def made_up(outputs):
    rng = np.random.default_rng(outputs)
    logits = rng.normal(0, 4, (40, outputs)).astype(np.float32)
    logits[:5, :] = np.round(logits[:5, :])  # with ties
    logits[7, 0] = np.nan
    label = rng.integers(0, outputs, 40).astype(np.int32)
    label[9] = UNREADABLE
    return logits, label


def test_scores_agree_with_float64_arithmetic():
    for outputs in (3, 12):
        logits, label = made_up(outputs)
        found, expected = jax.jit(score)(jnp.asarray(logits), jnp.asarray(label)), scores_of(logits, label)
        assert found.top.shape == (40, min(5, outputs)) and (found.top == expected.top).all()
        assert found.top[:, 0].tolist() == predicted_class(jnp.asarray(logits), jnp.asarray(label)).tolist()
        rows = np.arange(40) != 7
        for name in ("log_probability", "label_log_probability", "log_partition"):
            one, other = (np.asarray(getattr(scores, name))[rows] for scores in (found, expected))
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5, err_msg=name)


def test_images_without_an_answer_have_no_class_and_no_finite_number():
    logits, label = made_up(12)
    found = score(jnp.asarray(logits), jnp.asarray(label))
    assert (np.asarray(found.top)[[7, 9]] == NO_ANSWER).all()
    assert np.isnan(np.asarray(found.label_log_probability)[[7, 9]]).all()
    assert (np.asarray(found.top)[[6, 8]] != NO_ANSWER).all()


def test_the_table_of_temperatures_has_1_in_its_middle_and_the_double_of_each_twelve_places_further():
    np.testing.assert_allclose(INVERSE_TEMPERATURES[12:], 2 * INVERSE_TEMPERATURES[:-12], rtol=1e-15)
    assert INVERSE_TEMPERATURES[36] == 1.0 and len(INVERSE_TEMPERATURES) == 73
