"""How much of a conversation a prompt repeats."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexing.errors import GenerationError
from retrieval.generation.prompts import ContextPassage, Turn, pack, render_passage
from retrieval.generation.prompts.layout import closing
from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.protocol import Generator


async def repeated_turns(turns: Sequence[Turn], budget: int, generator: Generator | None) -> tuple[Turn, ...]:
    """Return the turns that the next prompt begins with; none without a model."""
    if generator is None:
        return ()
    try:
        return await recent_turns(turns, budget, generator.count_tokens)
    except GenerationError:
        # The writer meets the same failure, and knows what to do instead.
        return tuple(turns)


async def recent_turns(turns: Sequence[Turn], budget: int, count: CountTokens) -> tuple[Turn, ...]:
    """Return the turns that go into the next prompt.

    All of them while they fit; beyond, the older half goes at once.  Letting
    the oldest go one by one would change the beginning of every prompt, and
    the cache would never serve one again; halving does so once in a while.
    The cut depends on the turns alone, so it stays where it is until the next.
    """
    if not turns:
        return ()
    counted = (await count([f"{turn.user}\n{turn.assistant}" for turn in turns])).counts
    first = 0
    for end in range(1, len(turns) + 1):
        while sum(counted[first:end]) > budget and first < end:
            first += max(1, (end - first) // 2)
    return tuple(turns[first:])


_LABEL = re.compile(r"\[(\d{1,4})\]")


async def condensed_turn(
    question: str,
    answer: str,
    shown: Sequence[ContextPassage],
    ranked: Sequence[ContextPassage],
    budget: int,
    count: CountTokens,
) -> Turn:
    """Return what later prompts repeat of an answer that took several calls.

    None of the calls is the turn, and all of their passages would crowd out
    the next one's: the turn shows those that the answer cites, within
    ``budget`` tokens, and from then on stays as it is.
    """
    cited = {int(label) for label in _LABEL.findall(answer)}
    wanted = sorted((one for one in shown if one.label in cited), key=lambda one: (one.rank, one.label))
    kept = {one.label: one for one in (await pack(wanted, budget, count)).passages}
    left_out = {one.label for one in shown if one.label not in kept}
    placed = [kept[one.label] for one in shown if one.label in kept]
    rendered = [render_passage(one) for one in placed]
    end = closing(question, [one for one in ranked if one.label in cited - left_out])

    def label(found: re.Match[str]) -> str:
        # A label without its passage would be taken for the next one that gets its number.
        return "" if int(found[1]) in left_out else found[0]

    return Turn("\n\n".join([*rendered, end]), _LABEL.sub(label, answer).strip(), tuple(placed))
