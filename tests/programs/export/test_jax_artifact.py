import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.programs.export.jax_artifact import PLATFORMS, run_jax_artifact, write_jax_artifact
from tests.tiny import tiny_config

NETWORKS = {
    "basic": {},
    "bottleneck": {"model.name": "resnet", "model.depth": 50, "model.features": 4, "data.image_size": 32},
    "folded": {"model.name": "resnet", "model.depth": 18, "model.stem": "space_to_depth", "data.image_size": 32},
    "r1": {"input.per_image": True, "model.version": "v2", "model.zero_init_last_bn": False},
}


@pytest.mark.parametrize(
    "name", ["basic", "r1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bottleneck", "folded"))]
)
def test_any_batch_on_all_platforms(name, tmp_path):
    inference = experiment.build_inference(tiny_config({"model.features": 4} | NETWORKS[name]), num_classes=10)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: (0.5 + rng.random(leaf.shape)).astype(leaf.dtype) * (0.1 if leaf.ndim > 1 else 1), inference.shapes
    )
    side, path = inference.preprocessing.image_size, tmp_path / "model.jax"
    write_jax_artifact(path, lambda images: inference.predict_step(variables, images), image_size=side)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == PLATFORMS
    assert exported.in_avals[0].dtype == jnp.uint8
    for batch in (1, 3):
        images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
        expected = jax.jit(inference.predict_step)(variables, images)
        outputs = run_jax_artifact(path, images)
        assert (outputs["probabilities"].shape, outputs["classes"].dtype) == ((batch, 10), np.int32)
        np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(outputs["classes"], expected["classes"])
