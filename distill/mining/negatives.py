"""Hard negatives: which to take, and which are answers in disguise."""

from __future__ import annotations

import random
from collections.abc import Sequence

from distill.queries.text import normal
from distill.records import Passage, slice_of


def sample_hard(ranks: Sequence[int], *, low: int, high: int, count: int, seed: str) -> list[int]:
    """Return places of at most ``count`` candidates of rank ``low`` to ``high``, in rank order.

    Drawn evenly: the very first ranks hold the unlabelled answers, ranks far
    down teach little.  The same ``seed`` draws the same ones.

    >>> sample_hard([1, 2, 3, 4], low=2, high=3, count=5, seed="s")
    [1, 2]
    """
    places = [place for place, rank in enumerate(ranks) if low <= rank <= high]
    drawn = random.Random(seed).sample(places, min(count, len(places)))  # noqa: S311 - not a secret
    return sorted(drawn, key=lambda place: ranks[place])


def false_negatives(scores: Sequence[float], positives: Sequence[int], *, margin: float) -> list[int]:
    """Return places of candidates that score too close to the known answer to be called wrong.

    A candidate is dropped when its score is more than the best positive's
    minus ``margin`` (in the scorer's own units: logits of a reranker, grades
    of a teacher).  Without a positive nothing is known, and nothing dropped.

    Source: Moreira et al., "NV-Retriever: Improving text embedding models with
    effective hard-negative mining", 2024 (the variant with an absolute margin).

    >>> false_negatives([4.0, 3.5, 1.0], [0], margin=2.0)
    [1]
    """
    if not positives:
        return []
    bound = max(scores[place] for place in positives) - margin
    known = set(positives)
    return [place for place, score in enumerate(scores) if place not in known and score > bound]


def same_passage(one: Passage, other: Passage) -> bool:
    """Return whether two passages overlap: in their document, or one's text inside the other's."""
    ours, theirs = slice_of(one.doc_id), slice_of(other.doc_id)
    if ours and theirs and ours[0] == theirs[0]:
        return ours[1] < theirs[2] and theirs[1] < ours[2]
    a, b = normal(one.text), normal(other.text)
    return bool(a and b) and (a in b or b in a)
