"""Settings of mining."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from indexing.records import DEFAULT_TENANT
from indexing.settings import Section

# As deep as the fused list must be for the first 50 of both sides to be in it.
_BOTH_SIDES = 100


class MiningSettings(Section):
    """Which passages become a query's candidates."""

    tenant: str = Field(DEFAULT_TENANT, min_length=1)
    top_k: int = Field(20, ge=1, le=1000, description="best of the hybrid search, all of them candidates")
    each_side: int = Field(
        0, ge=0, le=50, description="best of the dense and of the sparse side, all of them candidates too"
    )
    hard_negatives: int = Field(10, ge=0, le=1000, description="drawn from the ranks below")
    from_rank: int = Field(21, ge=1, le=1000)
    to_rank: int = Field(100, ge=1, le=1000)
    window_size: int | None = Field(None, ge=0, le=50, description="None: as searches have it")
    margin: float | None = Field(
        None, description="drop candidates that score within it of the known answer; None: keep them"
    )
    seed: int = 0

    @property
    def depth(self) -> int:
        """Results to ask the index for."""
        return max(
            self.top_k, self.to_rank if self.hard_negatives else 0, _BOTH_SIDES if self.each_side else 0
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.from_rank > self.to_rank:
            raise ValueError(f"from_rank {self.from_rank} is behind to_rank {self.to_rank}")
        return self
