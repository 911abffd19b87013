"""Settings of a labelling run."""

from __future__ import annotations

from pydantic import Field

from distill.golden import GoldenBounds
from indexing.settings import Section


class LabelSettings(Section):
    """How a teacher is asked, and what it costs."""

    concurrency: int = Field(8, ge=1, le=1024, description="queries asked at the same time")
    batch: int = Field(
        32, ge=1, le=10_000, description="passages of one query per call of a pointwise teacher"
    )
    attempts: int = Field(
        6, ge=1, le=100, description="times a call is tried while the teacher is unavailable"
    )
    first_wait_s: float = Field(
        1.0, gt=0, description="before the second attempt; doubled each time, jittered"
    )
    longest_wait_s: float = Field(60.0, gt=0)
    give_up_after: int = Field(
        20, ge=1, description="queries that fail in a row before the rest is not asked"
    )
    golden: GoldenBounds = GoldenBounds()
    skip_golden: bool = Field(False, description="label without the golden pairs; the card says so")
    recheck: bool = Field(False, description="ask the golden pairs again although they were passed before")
    price_prompt: float = Field(0.0, ge=0, description="per 1,000 prompt tokens")
    price_cached: float | None = Field(None, ge=0, description="per 1,000 cached ones; None: the same price")
    price_completion: float = Field(0.0, ge=0, description="per 1,000 completion tokens")

    def cost(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Return the price of so many tokens; ``cached_tokens`` are among the prompt's."""
        cached = self.price_prompt if self.price_cached is None else self.price_cached
        fresh = max(0, prompt_tokens - cached_tokens)
        spent = fresh * self.price_prompt + cached_tokens * cached + completion_tokens * self.price_completion
        return spent / 1000
