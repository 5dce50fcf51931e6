"""Progressive resizing: the crop, and with it the image size, as a function of the training step."""

import bisect
import dataclasses

from resnet_jax.data.crops import Crop
from resnet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class CropStages:
    """A sequence of crops, each used until a given step.

    Attributes:
      crops: one crop per stage.
      end_steps: for each stage but the last, the first step of the next stage; the last stage does not end.

    Raises:
      UsageError: the number of end steps does not match the number of crops, or a stage would contain no step.
    """

    crops: tuple[Crop, ...]
    end_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        num_ends = len(self.crops) - 1
        if len(self.end_steps) != num_ends:
            raise UsageError(
                f"config.data.progressive.until_epochs has {len(self.end_steps)} entries, but "
                f"config.data.progressive.sizes has {num_ends}: give each size the epoch at which it ends"
            )
        if any(end <= start for start, end in zip((0, *self.end_steps), self.end_steps, strict=False)):
            raise UsageError(
                f"config.data.progressive.until_epochs ends the sizes at steps {', '.join(map(str, self.end_steps))}: "
                "each size must end at least one step after the previous one"
            )

    def at(self, step: int) -> Crop:
        """Returns the crop that the batch of a step uses."""
        return self.crops[bisect.bisect_right(self.end_steps, step)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The distinct image sizes in pixels, in the order of their first use."""
        return tuple(dict.fromkeys(crop.size for crop in self.crops))
