"""Which model fits which card; a name here is a suggestion, any causal model can be named.

One family for all sizes, Qwen3: it reads English and Chinese, follows the
citation format, and is Apache-2.0.  A card must hold the weights and at least
as much again in prefix cache as a busy service reuses: the cached contexts are
what makes answers fast, so each choice leaves a third of the card free.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model for a card of ``memory_gb`` or more."""

    memory_gb: int
    model: str
    weights_gb: float
    reason: str


SUGGESTIONS = (
    Suggestion(8, "Qwen/Qwen3-4B-AWQ", 2.7, "4-bit weights leave over 4 GB for cached contexts"),
    Suggestion(24, "Qwen/Qwen3-14B-AWQ", 10.0, "the largest that keeps half of 24 GB for cached contexts"),
    Suggestion(
        80,
        "Qwen/Qwen3-30B-A3B-Instruct-2507",
        57.0,
        "bf16; 3B of 30B weights work on a token, so it writes as fast as a small model",
    ),
)


def suggestion(memory_gb: float) -> Suggestion | None:
    """Return the largest suggestion that fits, None below the smallest card.

    A card sold as 24 GB reports a little less, so 5 percent are forgiven.
    """
    fitting = [one for one in SUGGESTIONS if memory_gb >= one.memory_gb * 0.95]
    return fitting[-1] if fitting else None
