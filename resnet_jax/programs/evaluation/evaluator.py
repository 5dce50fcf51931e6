"""Sums the loss and the correct predictions over the evaluation set; each example is counted exactly once."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import jax

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.loader import LoadedBatch, Loader
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment import EvalComputation, EvalData
from resnet_jax.experiment.compile import EvalStepWithAnswers, compile_eval_step
from resnet_jax.training import metrics
from resnet_jax.training.metrics import Answers, Totals


class Evaluator:
    """Evaluates weights on the evaluation set. The constructor compiles the evaluation step."""

    def __init__(
        self,
        computation: EvalComputation,
        data: EvalData,
        bad_examples: BadExamples,
        requests: StopRequests,
        *,
        take: Callable[[Answers], None] | None = None,
        steps: "CompiledSteps | None" = None,
    ):
        """Compiles the evaluation step, or takes it from `steps`.

        Args:
          computation: the network on its devices.
          data: the evaluation set.
          bad_examples: records the examples that cannot be read.
          requests: stop and save requests, checked once per batch.
          take: called on the host with labels and predictions of each batch, in order; None: only totals are computed.
          steps: cache of steps that other evaluations of the same network compiled; None: the step is compiled here.
        """
        self._computation, self._data, self._bad_examples, self._requests = computation, data, bad_examples, requests
        self._take = take
        self._step = (steps or CompiledSteps()).step(computation, data.eval_loader, with_answers=take is not None)

    def __call__(self, variables: dict[str, Any], *, save: Callable[[], None] = lambda: None) -> Totals | None:
        """Returns the totals of the whole evaluation set as Python numbers, or None if a stop request came first.

        Args:
          variables: 'params' and 'batch_stats', replicated on all devices.
          save: called between two batches when a save request has arrived.
        """
        loader, reading = self._data.eval_loader, self._data.reading
        loaded = host_batches(
            loader,
            start=0,
            stop=loader.num_batches,
            num_threads=reading.num_threads,
            num_workers=reading.num_workers,
            stopping=self._requests.stop_asked,
            worker_lost=self._requests.stop_because,
            stall_timeout=self._requests.stall_timeout,
        )
        with contextlib.closing(loaded):  # also stops the decoding threads and processes
            return self._sum(variables, loaded, save)

    def _sum(
        self, variables: dict[str, Any], loaded: Generator[LoadedBatch, None, None], save: Callable[[], None]
    ) -> Totals | None:
        sums, pending = metrics.zero(), None
        batches = self._bad_examples.watch(loaded, self._data.eval_loader, start=0)
        for batch in device_batches(batches, mesh=self._computation.mesh):
            result = self._step(variables, batch)
            # The previous result is fetched only now, after this batch was dispatched, so that the devices stay busy.
            if pending is not None:
                sums = self._add(sums, pending)
            pending = result
            if self._requests.stop_here():
                return None
            if self._requests.save_here():
                save()
        return self._add(sums, pending)

    def _add(self, sums: Totals, result: Any) -> Totals:
        """Fetches a result of the evaluation step, passes its predictions to `take`, returns `sums` plus its totals."""
        fetched = jax.device_get(result)
        if self._take is None:
            return metrics.merge(sums, fetched)
        totals, answers = fetched
        self._take(answers)
        return metrics.merge(sums, totals)


class CompiledSteps:
    """A cache of compiled evaluation steps, for several evaluations of the same network."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def step(self, computation: EvalComputation, loader: Loader, *, with_answers: bool) -> Callable[..., Any]:
        """Returns the evaluation step for the batches of a loader; compiles it unless it is in the cache.

        Args:
          computation: the network on its devices.
          loader: loads the batches.
          with_answers: whether the step also returns the predictions (`EvalStepWithAnswers`), or only the totals.
        """
        step = computation.eval_step
        key = (loader.image_size_at(0), loader.batch_size, step.flip, step.num_compared, with_answers)
        if key not in self._compiled:
            compile_step = EvalStepWithAnswers if with_answers else compile_eval_step
            self._compiled[key] = compile_step(computation, loader)
        return self._compiled[key]
