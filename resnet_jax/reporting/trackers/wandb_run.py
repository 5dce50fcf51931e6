"""A run in Weights & Biases (W&B), configured by its usual environment variables such as WANDB_PROJECT."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.reporting.trackers.tracker import TrackedRun, Tracker
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_WITHOUT_LOGIN = ("offline", "dryrun", "disabled")  # values of WANDB_MODE with which W&B needs no API key


def check() -> None:
    """Raises UsageError if W&B needs an API key and finds none: W&B would ask for one on the terminal."""
    if os.environ.get("WANDB_MODE") in _WITHOUT_LOGIN or os.environ.get("WANDB_API_KEY"):
        return  # without importing wandb, which takes seconds
    import wandb  # noqa: PLC0415

    if wandb.setup().settings.mode not in _WITHOUT_LOGIN and not wandb.login(prompt=False, verify=False):
        raise UsageError(
            "config.log.trackers has 'wandb', and no API key of Weights & Biases is known: run `wandb login`, or set "
            "WANDB_MODE=offline"
        )


def open_tracker(run: TrackedRun) -> Tracker:
    """Begins a run in Weights & Biases; if the training run was started before, continues its run there."""
    import wandb  # noqa: PLC0415

    opened = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "resnet_jax"),
        name=os.environ.get("WANDB_NAME", run.name),
        id=run.run_id,
        resume="allow",
        dir=run.directory,
        config=run.settings,
        settings=wandb.Settings(console="off", silent=True),  # else W&B captures stdout, and the progress bar with it
    )
    where = f"offline; to send it: wandb sync {opened.dir.removesuffix('/files')}" if opened.offline else opened.url
    logger.info(labelled("wandb", where))
    return _WandbRun(opened)


class _WandbRun(Tracker):
    """A tracker that logs to a run in Weights & Biases."""

    def __init__(self, run: Any):
        self._run = run

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`. W&B ignores steps that were sent before the run was continued; their values are the same."""
        self._run.log(dict(values), step=step)

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """See `Tracker`."""
        import wandb  # noqa: PLC0415

        self._run.log({tag: wandb.Image(pixels)}, step=step)

    def close(self, *, failed: bool) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=int(failed))
