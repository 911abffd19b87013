"""Passages into a token budget, best first, measured with the model's tokenizer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from indexing.sentences import split_sentences
from retrieval.generation.prompts.context import ContextPassage, render_passage
from retrieval.generation.protocol import TokenCounts

CountTokens = Callable[[Sequence[str]], Awaitable[TokenCounts]]

# A label's digits, a blank line and the ranking line's share of one passage.
_OVERHEAD = 12
# What is left of the best passage when even that is too long: fewer tokens say nothing.
_MIN_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Packed:
    """The passages that fit, in the order given, and what they take.

    ``dropped`` counts passages left out, ``cut`` those shortened to whole
    sentences; ``exact`` is False when tokens were bounded, not counted.
    """

    passages: tuple[ContextPassage, ...]
    tokens: int
    dropped: int
    cut: int
    exact: bool


async def pack(passages: Sequence[ContextPassage], budget: int, count: CountTokens) -> Packed:
    """Return the best passages that fit ``budget`` tokens.

    A passage that does not fit is passed over for the next, shorter one; only
    the best is cut, at a sentence, since an answer rests on it first.
    """
    if not passages:
        return Packed((), 0, 0, 0, exact=True)
    counted = await count([render_passage(one) for one in passages])
    kept: list[ContextPassage] = []
    used = cut = 0
    for passage, tokens in zip(passages, counted.counts, strict=True):
        needed = tokens + _OVERHEAD
        if used + needed <= budget:
            kept.append(passage)
            used += needed
        elif not kept:
            shorter = await _shortened(passage, budget, count)
            if shorter is not None:
                kept.append(shorter[0])
                used += shorter[1]
                cut += 1
    return Packed(tuple(kept), used, len(passages) - len(kept), cut, counted.exact)


async def _shortened(
    passage: ContextPassage, budget: int, count: CountTokens
) -> tuple[ContextPassage, int] | None:
    """Return as many of the first sentences as fit, or None when not even one does."""
    if budget < _MIN_TOKENS:
        return None
    spans = split_sentences(passage.text)
    if not spans:
        return None
    begun = spans[0][0]
    versions = [
        replace(passage, start=passage.start + begun, end=passage.start + end, text=passage.text[begun:end])
        for _, end in spans
    ]
    counted = await count([render_passage(one) for one in versions])
    fitting = [
        (one, tokens + _OVERHEAD)
        for one, tokens in zip(versions, counted.counts, strict=True)
        if tokens + _OVERHEAD <= budget
    ]
    return fitting[-1] if fitting else None
