"""What stops a run: a loss that is not finite, scores that no longer differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.errors import CollapseError, TrainingError
from distill.training.settings import GuardSettings

if TYPE_CHECKING:
    from torch import Tensor


class Guard:
    """Looks at every batch; raises when the student is beyond saving."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._below = 0
        self.spread = float("nan")  # of the last batch, for the log

    def look(self, loss: Tensor, logits: Tensor, labels: Tensor, mask: Tensor, *, step: int) -> None:
        """Check one batch.

        Raises:
            TrainingError: the loss is not finite.
            CollapseError: the standard deviation of the logits within a list,
                averaged over the lists whose labels differ, stayed below the
                bound for the set number of steps.
        """
        import torch

        value = float(loss.detach())
        if not torch.isfinite(loss.detach()).all():
            raise TrainingError(
                f"the loss is {value} at step {step}; lower optimiser.learning_rate, or train in fp32"
            )
        self.spread = _spread(logits.detach().float(), labels.float(), mask)
        if not self._settings.collapse_std or self.spread != self.spread:
            return
        self._below = self._below + 1 if self.spread < self._settings.collapse_std else 0
        if self._below >= self._settings.collapse_steps:
            raise CollapseError(
                f"the student gives every passage of a list nearly the same score: standard deviation "
                f"{self.spread:.2g} at step {step}, below {self._settings.collapse_std} for {self._below} "
                "batches in a row; lower optimiser.learning_rate or change loss.name, then start again "
                "from the base"
            )


def _spread(logits: Tensor, labels: Tensor, mask: Tensor) -> float:
    """Mean over lists of the population standard deviation of their logits; NaN where no list counts."""
    import torch

    count = mask.sum(dim=1).clamp(min=1)
    mean = (logits * mask).sum(dim=1) / count
    variance = (((logits - mean[:, None]) ** 2) * mask).sum(dim=1) / count
    differ = torch.where(mask, labels, -torch.inf).amax(dim=1) > torch.where(mask, labels, torch.inf).amin(
        dim=1
    )
    return float(variance.sqrt()[differ].mean()) if bool(differ.any()) else float("nan")
