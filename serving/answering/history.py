"""How much of a conversation a prompt repeats."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.generation.prompts import Turn
from retrieval.generation.prompts.packing import CountTokens


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
