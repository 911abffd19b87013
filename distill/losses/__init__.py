"""Losses on lists of passages: a teacher's scores, its order, hard labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distill.losses import distillation, hard, listwise
from distill.losses.protocol import ListLoss
from distill.losses.settings import HardName, LossName, LossSettings

__all__ = ["HARD_ONLY", "ListLoss", "LossSettings", "build_hard_loss", "build_loss"]

# Losses that know positives only, whatever the teacher's scores are.
HARD_ONLY: frozenset[LossName] = frozenset({"bce", "infonce"})

_SOFT: Mapping[LossName, Callable[[LossSettings], ListLoss]] = {
    "margin-mse": lambda _: distillation.margin_mse(),
    "kl": lambda given: distillation.kl_divergence(given.temperature),
    "ranknet": lambda given: listwise.ranknet(given.sigma),
    "listnet": lambda given: listwise.listnet(given.temperature),
    "lambda": lambda given: listwise.lambda_loss(given.sigma, given.top_k, given.max_grade),
    "adr-mse": lambda given: listwise.adr_mse(given.alpha),
}
_HARD: Mapping[HardName, Callable[[LossSettings], ListLoss]] = {
    "bce": lambda _: hard.binary_cross_entropy(),
    "infonce": lambda given: hard.info_nce(given.temperature),
}


def build_loss(settings: LossSettings) -> ListLoss | None:
    """Return the loss on the teacher's scores; None where ``settings`` name one on hard labels only."""
    return None if settings.name in HARD_ONLY else _SOFT[settings.name](settings)


def build_hard_loss(settings: LossSettings) -> ListLoss | None:
    """Return the loss on hard labels; None where it has no weight."""
    if settings.name == "bce" or settings.name == "infonce":
        return _HARD[settings.name](settings)
    return _HARD[settings.hard](settings) if settings.hard_weight > 0 else None
