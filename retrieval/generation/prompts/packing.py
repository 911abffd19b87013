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
    the best is cut, to whole sentences around the one that was found, since an
    answer rests on it first.
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
    """Return as many sentences around the matched one as fit, or None when not even that does."""
    if budget < _MIN_TOKENS:
        return None
    versions = [
        replace(passage, start=passage.start + start, end=passage.start + end, text=passage.text[start:end])
        for start, end in _runs(passage)
    ]
    if not versions:
        return None
    counted = await count([render_passage(one) for one in versions])
    fitting = [
        (one, tokens + _OVERHEAD)
        for one, tokens in zip(versions, counted.counts, strict=True)
        if tokens + _OVERHEAD <= budget
    ]
    return fitting[-1] if fitting else None


def _runs(passage: ContextPassage) -> list[tuple[int, int]]:
    """Return runs of sentences, each longer than the one before: the match, then around it in turns.

    Offsets are the passage's own; without a match the runs begin with its
    first sentence.
    """
    spans = split_sentences(passage.text)
    at = 0 if passage.match is None else passage.match[0] - passage.start
    first = last = next((place for place, (_, end) in enumerate(spans) if end > at), 0)
    runs = [(spans[first][0], spans[last][1])] if spans else []
    while len(runs) < len(spans):
        behind = last + 1 < len(spans)
        if behind and (first == 0 or len(runs) % 2):
            last += 1
        else:
            first -= 1
        runs.append((spans[first][0], spans[last][1]))
    return runs
