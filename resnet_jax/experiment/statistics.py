"""Recomputes the batch norm statistics of given weights, over training images."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.distributed.mesh import make_microbatch_split, over_batch, put_on_devices, replicated
from resnet_jax.errors import UsageError
from resnet_jax.experiment.build import build
from resnet_jax.experiment.parts import Computation, Data
from resnet_jax.training.gradients import IndexedBatch
from resnet_jax.training.population_statistics import Moments, Population, make_moments


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Computes batch norm statistics over the first training batches of a run, cropped and augmented as in training."""

    data: Data
    computation: Computation

    def num_batches(self, images: int) -> int:
        """Returns the number of training batches with at least `images` images."""
        return -(-images // self.data.train_loader.batch_size)

    def num_images(self, images: int) -> int:
        """Returns the number of images in `num_batches(images)` batches."""
        return self.num_batches(images) * self.data.train_loader.batch_size

    def describe(self, images: int) -> str:
        """Says how many training images `compute` uses, and, if these are repeated, in how many passes over the set."""
        count, distinct = self.num_images(images), len(self.data.train_loader.source)
        if count <= distinct:
            return f"{count:,} training images"
        return f"{count:,} crops, {count / distinct:.1f} passes over the {distinct:,} training images"

    def compute(
        self, variables: dict[str, Any], images: int, *, stopping: Callable[[], bool] = lambda: False
    ) -> dict[str, Any] | None:
        """Returns the variables with recomputed batch norm statistics; None if `stopping` returned True.

        Args:
          variables: 'params' and 'batch_stats', numpy arrays.
          images: number of training images to use, rounded up to whole batches.
          stopping: called after each batch; if it returns True, the computation ends.

        Raises:
          UsageError: the statistics are not finite, or the images cannot be read.
        """
        population, reading = Population(), self.data.reading
        on_devices = put_on_devices(variables, replicated(self.computation.mesh))
        loaded = host_batches(
            self.data.train_loader,
            start=0,
            stop=self.num_batches(images),
            num_threads=reading.num_threads,
            num_workers=reading.num_workers,
        )
        with contextlib.closing(loaded):
            batches = device_batches((one.batch for one in loaded), mesh=self.computation.mesh)
            for step, batch in enumerate(batches):
                population.add(jax.device_get(self._moments(on_devices, batch, jnp.asarray(step, jnp.int32))))
                if stopping():
                    return None
        statistics = population.statistics(variables["batch_stats"])
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(statistics)):
            raise UsageError(
                "the batch norm statistics of these weights are not finite: take other checkpoints, or leave the "
                "statistics as they are (config.average.images=0, config.eval.precise_statistics=0)"
            )
        return {**variables, "batch_stats": statistics}

    @functools.cached_property
    def _moments(self) -> Callable[[dict[str, Any], DeviceBatch, jax.Array], dict[str, Moments]]:
        computation, moments = self.computation, make_moments(self.computation.forward_fn)
        whole, rows = replicated(computation.mesh), over_batch(computation.mesh)
        split = make_microbatch_split(computation.mesh, num_microbatches=computation.num_microbatches)

        def of_batch(variables: dict[str, Any], batch: DeviceBatch, step: jax.Array) -> dict[str, Moments]:
            key = jax.random.fold_in(jax.random.key(computation.seed), step)
            indexed = IndexedBatch(batch, jnp.arange(len(batch.label), dtype=jnp.int32))
            if computation.num_microbatches == 1:
                return moments(variables, indexed, key)
            found = jax.lax.map(lambda part: moments(variables, part, key), split(indexed))
            mean = functools.partial(jnp.mean, axis=0)
            return {path: Moments(mean(one.mean), mean(one.square), jnp.sum(one.values)) for path, one in found.items()}

        return jax.jit(of_batch, in_shardings=(whole, rows, whole), out_shardings=whole)


def build_statistics(config: ConfigDict, *, num_outputs: int, cache_dir: Path | None = None) -> Statistics:
    """Opens the data and makes the network of a config, for weights with `num_outputs` classes; compiles nothing.

    Raises:
      UsageError: an error of `build`.
    """
    config = config.copy_and_resolve_references()
    config.model.update({"num_classes": num_outputs, "init_from": None, "init_head": False, "init_optimizer": False})
    built = build(config, cache_dir=cache_dir, refuse_tiny_crops=False)
    return Statistics(built.data, built.computation)
