"""Sums over the evaluation set: every example exactly once."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import jax

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.loader import LoadedBatch
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_eval_step
from resnet_jax.training import metrics
from resnet_jax.training.metrics import Answers, Totals


class Evaluator:
    """Evaluates weights for one experiment; the step is compiled when this is made."""

    def __init__(
        self,
        experiment: Experiment,
        bad_examples: BadExamples,
        requests: StopRequests,
        *,
        take: Callable[[Answers], None] | None = None,
    ):
        """Compiles.

        Args:
          experiment: names the step and the examples.
          bad_examples: keeps account of those that cannot be read.
          requests: looked at once a batch.
          take: called with the answers to each batch in turn, on the host; None: only sums are computed.
        """
        self._experiment, self._bad_examples, self._requests = experiment, bad_examples, requests
        self._take = take
        self._step = compile_eval_step(experiment, with_answers=take is not None)

    def __call__(self, variables: dict[str, Any], *, save: Callable[[], None] = lambda: None) -> Totals | None:
        """Sums over the whole evaluation set, in Python numbers; None if a request to stop was met.

        Args:
          variables: 'params' and 'batch_stats', on all devices.
          save: called where a request to save is met.
        """
        experiment, loader = self._experiment, self._experiment.data.eval_loader
        loaded = host_batches(
            loader,
            start=0,
            stop=loader.num_batches,
            num_threads=experiment.data.reading.num_threads,
            num_workers=experiment.data.reading.num_workers,
            stopping=self._requests.stop_asked,
        )
        with contextlib.closing(loaded):  # and with it its threads and processes, whatever happens
            return self._sum(variables, loaded, save)

    def _sum(
        self, variables: dict[str, Any], loaded: Generator[LoadedBatch, None, None], save: Callable[[], None]
    ) -> Totals | None:
        sums, pending = metrics.zero(), None
        batches = self._bad_examples.watch(loaded, self._experiment.data.eval_loader, start=0)
        for batch in device_batches(batches, mesh=self._experiment.computation.mesh):
            result = self._step(variables, batch)
            if pending is not None:  # fetched one batch late: the device has work while the host waits
                sums = self._add(sums, pending)
            pending = result
            if self._requests.stop_here():
                return None
            if self._requests.save_here():
                save()
        return self._add(sums, pending)

    def _add(self, sums: Totals, result: Any) -> Totals:
        """Fetches what a step returned; adds its totals to the sums, and passes its answers on."""
        fetched = jax.device_get(result)
        if self._take is None:
            return metrics.merge(sums, fetched)
        totals, answers = fetched
        self._take(answers)
        return metrics.merge(sums, totals)
