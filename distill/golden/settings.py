"""What a teacher must reach on the golden pairs."""

from __future__ import annotations

from pydantic import Field

from indexing.settings import Section


class GoldenBounds(Section):
    """Bounds of the gate, and how it asks."""

    min_right: float = Field(
        0.8, gt=0.5, le=1, description="share of relevant above irrelevant passages, in each language"
    )
    min_exchanged_right: float = Field(
        0.85,
        gt=0.5,
        le=1,
        description="the same where the irrelevant passage answers another golden query; "
        "a score that does not look at the query gets 0.5 at most",
    )
    languages: tuple[str, ...] = Field(("en", "zh"), min_length=1, description="those the teacher must know")
    min_spread: float = Field(0.01, ge=0, description="pointwise: standard deviation of all scores")
    max_share_at_end: float = Field(
        0.25, gt=0, le=1, description="pointwise: passages with exactly the lowest, or the highest, score"
    )
    max_order_shift: float = Field(
        0.25,
        gt=0,
        description="pointwise: largest change of a score in another batch, in standard deviations; "
        "bf16 alone makes small ones",
    )
    min_order_tau: float = Field(
        0.3, ge=-1, le=1, description="listwise: mean Kendall's tau of a list's ranking and its reverse's"
    )
    max_mended_share: float = Field(0.5, ge=0, le=1, description="listwise: permutations that need mending")
    min_tail_margin: float = Field(
        0.1, ge=0, description="pointwise: what a difference at a passage's end moves, in median margins"
    )
    tail_words: int = Field(250, ge=20, le=4000, description="words before the answer in the long passages")
    max_failed_share: float = Field(0.0, ge=0, lt=1, description="calls whose answer is no label")
    concurrency: int = Field(4, ge=1, le=64)
    attempts: int = Field(3, ge=1, le=10, description="of a call that may succeed later")
    first_wait_s: float = Field(0.5, ge=0, description="before the second attempt; doubles")
    longest_wait_s: float = Field(30.0, ge=0)
