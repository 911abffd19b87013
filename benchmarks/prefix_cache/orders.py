"""Orders in which passages can stand in a prompt, and the share of tokens each lets a cache serve.

All but the first depend on the documents, not on the question's ranking.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.prefix_cache.blocks import BlockCache
from benchmarks.prefix_cache.streams import Ask, Stream, Unit
from retrieval.generation.prompts import INSTRUCTION, ContextPassage, render_passage
from retrieval.generation.prompts.context import ranking_line
from retrieval.generation.protocol import Message

Order = Callable[[Sequence[ContextPassage]], list[ContextPassage]]
Key = tuple[str, str, int, int]


def key(one: ContextPassage) -> Key:
    return (one.doc_id, one.version, one.start, one.end)


def by_rank(passages: Sequence[ContextPassage]) -> list[ContextPassage]:
    """Best first: what most prompts do."""
    return sorted(passages, key=lambda one: one.rank)


def by_document(passages: Sequence[ContextPassage]) -> list[ContextPassage]:
    """By document id and place: what the service does."""
    return sorted(passages, key=key)


def by_hash(passages: Sequence[ContextPassage]) -> list[ContextPassage]:
    """By a hash of the passage: no document is always first."""
    return sorted(passages, key=lambda one: hashlib.sha256(repr(key(one)).encode()).digest())


def most_of_first(passages: Sequence[ContextPassage]) -> list[ContextPassage]:
    """The document with most passages first, then by document id and place."""
    count = Counter(one.doc_id for one in passages)
    return sorted(passages, key=lambda one: (-count[one.doc_id], *key(one)))


class MostShownFirst:
    """What was shown most often until now first; the counts change what a prefix was."""

    def __init__(self) -> None:
        self._shown: Counter[Key] = Counter()

    def __call__(self, passages: Sequence[ContextPassage]) -> list[ContextPassage]:
        ordered = sorted(passages, key=lambda one: (-self._shown[key(one)], *key(one)))
        self._shown.update(map(key, passages))
        return ordered


class AlongWhatWasShown:
    """Follows the longest run of passages that an earlier prompt began with; the rest by document."""

    def __init__(self) -> None:
        self._tree: dict[Key, Any] = {}

    def __call__(self, passages: Sequence[ContextPassage]) -> list[ContextPassage]:
        known = {key(one): one for one in passages}
        _, path = self._best(self._tree, known)
        rest = sorted((one for one in passages if key(one) not in path), key=key)
        ordered = [*(known[step] for step in path), *rest]
        node = self._tree
        for one in ordered:
            node = node.setdefault(key(one), {})
        return ordered

    def _best(self, node: dict[Key, Any], left: dict[Key, ContextPassage]) -> tuple[int, list[Key]]:
        best: tuple[int, list[Key]] = (0, [])
        for step, below in node.items():
            if step in left:
                others = {name: one for name, one in left.items() if name != step}
                length, path = self._best(below, others)
                length += len(left[step].text)
                if length > best[0]:
                    best = (length, [step, *path])
        return best


@dataclass(frozen=True, slots=True)
class Shared:
    """Tokens of all prompts of one stream, and how many of them a cache would serve."""

    stream: Stream
    unit: Unit
    order: str
    block: int
    tokens: int
    cached: int

    @property
    def share(self) -> float:
        return self.cached / self.tokens if self.tokens else 0.0


def orders() -> dict[str, Order]:
    """Return fresh orders by name; two of them remember what they saw."""
    return {
        "by rank": by_rank,
        "by document (ours)": by_document,
        "by hash": by_hash,
        "document with most passages first": most_of_first,
        "most shown first": MostShownFirst(),
        "along what was shown": AlongWhatWasShown(),
    }


def compare_orders(
    asks: Sequence[Ask], stream: Stream, unit: Unit, tokenizer: Any, blocks: Sequence[int]
) -> list[Shared]:
    """Return what each order shares over single-turn questions, for each size of block."""
    mine = [ask for ask in asks if (ask.stream, ask.unit) == (stream, unit)]
    found: list[Shared] = []
    for block in blocks:
        for name, order in orders().items():
            cache = BlockCache(tokenizer, block)
            counted = [cache.add(_prompt(ask, order)) for ask in mine]
            tokens, cached = (sum(column) for column in zip(*counted, strict=True))
            found.append(Shared(stream, unit, name, block, tokens, cached))
    return found


def _prompt(ask: Ask, order: Order) -> list[Message]:
    placed = [replace(one, label=label) for label, one in enumerate(order(ask.passages), start=1)]
    parts = [*(render_passage(one) for one in placed), ranking_line(placed), f"Question: {ask.question}"]
    return [Message("system", INSTRUCTION), Message("user", "\n\n".join(parts))]
