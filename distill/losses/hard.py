"""Losses on hard labels (black box): which passages answer the query, nothing about how well.

Labels here are 1 for a positive and 0 for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from distill.losses.protocol import ListLoss

_POSITIVE = 0.5


def binary_cross_entropy() -> ListLoss:
    """Return the cross entropy of ``sigmoid(logit)``, mean over passages.

    A list's positives weigh as much as its negatives: with one positive among
    seven, the unweighed loss is nearly minimised by calling all irrelevant.

    Source: Nogueira and Cho, "Passage Re-ranking with BERT", 2019 (arXiv
    1901.04085), the pointwise loss; the balance is ours.
    """

    def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        positive = (labels > _POSITIVE) & mask
        negative = ~positive & mask
        weights = torch.zeros_like(logits, dtype=torch.float32)
        for side in (positive, negative):
            weights = torch.where(side, 1.0 / side.sum(dim=1, keepdim=True).clamp(min=1), weights)
        safe = torch.where(mask, logits.float(), 0.0)
        values = binary_cross_entropy_with_logits(safe, positive.float(), weight=weights, reduction="sum")
        return values / weights.sum().clamp(min=1.0)

    return loss


def info_nce(temperature: float = 1.0) -> ListLoss:
    """Return ``-log(softmax(s / T)[positive])``, mean over positives, then over lists.

    Other positives of a list are left out of a positive's denominator.

    Source: van den Oord et al., "Representation Learning with Contrastive
    Predictive Coding", 2018 (arXiv 1807.03748), equation 4.
    """

    def loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import softplus

        positive = (labels > _POSITIVE) & mask
        negative = ~positive & mask
        scaled = torch.where(mask, logits.float() / temperature, 0.0)
        outside = torch.finfo(torch.float32).min / 4
        others = torch.where(negative, scaled, outside).logsumexp(dim=1, keepdim=True)
        # -log(e^p / (e^p + sum e^n)) = softplus(log sum e^n - p)
        values = torch.where(positive, softplus(others - scaled), 0.0).sum(dim=1)
        counted = positive.any(dim=1) & negative.any(dim=1)
        per_list = values / positive.sum(dim=1).clamp(min=1)
        return torch.where(counted, per_list, 0.0).sum() / counted.sum().clamp(min=1)

    return loss
