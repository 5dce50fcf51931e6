"""The prediction step, from pixels to class probabilities: used by --mode=predict and by exports."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.training.gradients import Preprocess, imagenet_input

Outputs = dict[str, jax.Array]  # 'probabilities' [B, K] float32, 'classes' [B] int32
PredictStep = Callable[[dict[str, Any], jax.Array], Outputs]


def make_predict_step(*, model: nn.Module, preprocess: Preprocess = imagenet_input) -> PredictStep:
    """Returns the pure function that maps variables and images [B, S, S, 3] uint8 to probabilities and classes.

    Args:
      model: takes float images [B, S, S, 3] and `train=`.
      preprocess: normalizes pixels to the input of the model.
    """

    def predict_step(variables: dict[str, Any], images: jax.Array) -> Outputs:
        logits: jax.Array = model.apply(variables, preprocess(images), train=False)  # type: ignore[assignment]
        # The class is taken from the logits, as in evaluation: different logits can round to equal probabilities.
        classes = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return {"probabilities": jax.nn.softmax(logits.astype(jnp.float32), axis=-1), "classes": classes}

    return predict_step
