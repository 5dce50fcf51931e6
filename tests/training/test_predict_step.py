import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import experiment
from tests.tiny import tiny_config
from tests.training import tiny_runs


def test_probabilities_and_classes_are_those_of_the_logits_of_evaluation():
    config = tiny_config()
    devices = jax.devices()[:1]
    built, variables = tiny_runs.build(), tiny_runs.first_state().variables
    inference = experiment.build_inference(config, num_classes=10, devices=devices)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, inference.shapes)
    batch = built.data.eval_loader.batch(0).batch
    outputs = jax.jit(inference.predict_step)(variables, batch.image)
    probabilities = np.asarray(outputs["probabilities"], np.float64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(outputs["classes"], probabilities.argmax(axis=1))
    totals = jax.jit(built.computation.eval_step)(variables, batch)
    shown = np.arange(len(batch.label))[batch.mask]
    losses = -np.log(probabilities[shown, batch.label[shown]])
    np.testing.assert_allclose(losses.sum(), totals.loss, rtol=1e-5)
    assert (probabilities[shown].argmax(axis=1) == batch.label[shown]).sum() == totals.top1


def test_a_file_is_cut_and_resized_as_evaluation_does():
    config = tiny_config({"data.source": "synthetic_jpeg", "data.enlarge_to": 50, "eval.image_size": 16})
    built, inference = experiment.build(config), experiment.build_inference(config, num_classes=10)
    loader = inference.make_loader(built.data.eval_loader.source, 5)
    np.testing.assert_array_equal(loader.first_images(4), built.data.eval_loader.first_images(4))
    assert loader.batch_size % inference.mesh.size == 0


def test_another_type_and_another_number_of_outputs():
    inference = experiment.build_inference(tiny_config(), num_classes=7, dtype="bfloat16")
    assert (inference.dtype, inference.shapes["params"]["head"]["bias"].shape) == ("bfloat16", (7,))
