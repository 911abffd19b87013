"""Settings of the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indexing.settings import Section

LossName = Literal["margin-mse", "kl", "ranknet", "listnet", "lambda", "adr-mse", "bce", "infonce"]
HardName = Literal["bce", "infonce"]


class LossSettings(Section):
    """What is minimised: a loss on the teacher's scores, and hard labels mixed in by a weight."""

    name: LossName = "ranknet"
    temperature: float = Field(1.0, gt=0, le=100, description="kl, listnet, infonce: divides the logits")
    sigma: float = Field(1.0, gt=0, le=100, description="ranknet, lambda: multiplies score differences")
    top_k: int | None = Field(None, ge=1, description="lambda: cut-off of the NDCG it bounds; None: the list")
    alpha: float = Field(1.0, gt=0, le=100, description="adr-mse: sharpness of the approximated ranks")
    max_grade: float = Field(3.0, gt=0, le=10, description="lambda: what a list's best score counts as")
    hard: HardName = Field("infonce", description="loss on hard labels, where hard_weight is above 0")
    hard_weight: float = Field(0.0, ge=0, le=1, description="(1 - w) * loss + w * hard loss")
