"""How far each side's best hit stands out of its own list, and what that says of its weight.

A side that has found the answer gives it a score far above the rest of its
list; one that has not returns fifty hits that are all alike.  The idea is the
field's query performance prediction from retrieval scores (Shtok, Kurland,
Carmel, Raiber and Markovits, "Predicting Query Performance by Query-Drift
Estimation", TOIS 2012); the use as a fusion weight was chosen on six sets of
question-passage pairs, see docs/design.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from indexing.errors import InputError
from indexing.hits import PackedHits
from indexing.identity import prefix_of
from indexing.records import Hit

DocumentOf = Callable[[str], str]

# A list of cosines stands out less than a list of BM25 scores that is as good.  Chosen, like the
# power, by NDCG@10 over sets of question-passage pairs; see docs/design.md.
FACTORS = (1.45, 1.0)
"""What the confidence of a dense and of a sparse side is multiplied by before the two are compared."""

# A list asked for deeper is judged by its beginning, so that top_k hardly changes the weights.
_JUDGED = 50
_LEAST = 3


def confidence(side: Sequence[Hit], document_of: DocumentOf = prefix_of) -> float | None:
    """Return the best score's distance from the mean of the documents' best, in their standard deviations.

    A document counts once, at its best hit: several sentences of the one that
    answers are no rivals of each other; ``document_of`` tells it by a hit's id.
    Above 0 and at most the square root of the number of documents less one;
    None for fewer than three documents and for scores that are all the same.

    >>> hits = [Hit(name, score, rank) for rank, (name, score) in enumerate(zip("abc", (9, 1, 1)), 1)]
    >>> round(confidence(hits), 3)
    1.414
    """
    best: dict[str | bytes, float] = {}
    for document, score in _scored(side, document_of):
        best.setdefault(document, score)
        if len(best) == _JUDGED:
            break
    scores = list(best.values())
    if len(scores) < _LEAST:
        return None
    mean = math.fsum(scores) / len(scores)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    if min(scores) == max(scores) or not (math.isfinite(spread) and spread > 0):
        return None
    return (max(scores) - mean) / spread


def _scored(side: Sequence[Hit], document_of: DocumentOf) -> Iterable[tuple[str | bytes, float]]:
    """Each hit's document and score; packed hits tell theirs without being unpacked."""
    if document_of is prefix_of and isinstance(side, PackedHits):
        return zip(side.documents(), side.scores, strict=True)
    return ((document_of(hit.id), hit.score) for hit in side)


def confidence_weights(
    sides: Sequence[Sequence[Hit]],
    weights: Sequence[float],
    power: float,
    *,
    factors: Sequence[float] | None = None,
    document_of: DocumentOf = prefix_of,
) -> list[float]:
    """Return the weights, each times its side's share of the highest confidence to the ``power``.

    They come back as they are when a side that takes part cannot be judged,
    and with a power of 0.  A side without hits or weight takes no part.

    Args:
        sides: ranked lists.
        weights: one a side.
        power: 0 leaves the weights alone.
        factors: one a side, its confidence is multiplied by it first; None: all are 1.
        document_of: see :func:`confidence`.

    Raises:
        InputError: a power that is negative or not finite.
    """
    if not (math.isfinite(power) and power >= 0):
        raise InputError(f"the power of the confidence is a number from 0 up, not {power!r}")
    unchanged = list(weights)
    if power == 0:
        return unchanged
    taking_part = [bool(side) and weight > 0 for side, weight in zip(sides, weights, strict=True)]
    judged = [
        _times(factor, confidence(side, document_of)) if used else None
        for side, used, factor in zip(sides, taking_part, factors or [1.0] * len(sides), strict=True)
    ]
    known = [one for one in judged if one is not None]
    if len(known) < 2 or len(known) < sum(taking_part):
        return unchanged
    highest = max(known)
    return [
        weight if one is None else weight * (one / highest) ** power
        for weight, one in zip(weights, judged, strict=True)
    ]


def _times(factor: float, judged: float | None) -> float | None:
    return None if judged is None else factor * judged
