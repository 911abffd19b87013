"""Losses on a teacher's scores as they are (white box): MarginMSE and KL.

sentence-transformers has both for its own models only: its MarginMSELoss
compares the first passage with the others and tokenises inside the loss, its
DistillKLDivLoss is for multi-vector encoders.  These work on logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from distill.losses.protocol import ListLoss


def margin_mse() -> ListLoss:
    """Return the mean squared error of score differences, over all pairs of each list.

    ``((s_i - s_j) - (t_i - t_j))^2``, mean over pairs, then over lists: on
    lists of two it equals sentence-transformers' MarginMSELoss.

    Source: Hofstätter et al., "Improving Efficient Neural Ranking Models with
    Cross-Architecture Knowledge Distillation", 2020 (arXiv 2010.02666).
    """

    def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        import torch

        errors = torch.where(mask, logits.float() - labels.float(), 0.0)
        pairs = torch.triu(mask[:, :, None] & mask[:, None, :], diagonal=1)
        squared = (errors[:, :, None] - errors[:, None, :]) ** 2 * pairs
        counts = pairs.sum(dim=(1, 2))
        return _mean_of_lists(squared.sum(dim=(1, 2)) / counts.clamp(min=1), counts > 0)

    return loss


def kl_divergence(temperature: float = 1.0) -> ListLoss:
    """Return ``T^2 * KL(softmax(t / T) || softmax(s / T))``, mean over lists.

    The factor keeps the gradient's size when T grows.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015 (arXiv 1503.02531), section 2.
    """

    def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        import torch

        # A large finite number: with -inf, 0 * log 0 of the padding would be NaN.
        outside = torch.finfo(torch.float32).min / 4
        student = torch.where(mask, logits.float() / temperature, outside).log_softmax(dim=1)
        teacher = torch.where(mask, labels.float() / temperature, outside).log_softmax(dim=1)
        parts = torch.where(mask, teacher.exp() * (teacher - student), 0.0)
        return _mean_of_lists(parts.sum(dim=1), mask.sum(dim=1) > 1) * temperature**2

    return loss


def _mean_of_lists(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of ``values`` ``(batch,)`` where ``counted``; 0 (with a gradient) where none is."""
    return (values * counted).sum() / counted.sum().clamp(min=1)
