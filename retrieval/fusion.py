"""Fusion: several rankings of the same points into one, by pure functions.

``sides`` are ranked lists, best first; ``weights`` are not negative, one a
side.  A side's ranking is the order of its list, ranks from 1, and a point's
second occurrence in a list is ignored.  A side of weight 0 takes no part: what
only it found does not appear, yet its rank and score are reported for points
that another side found.  ``credits`` names points that some side has no vector
of: what they collect elsewhere is raised by that share (0 to 1) of the other
sides' weights (see ``retrieval.credits``).  Results are ordered by score, descending, then by id;
inputs are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import mul, neg
from typing import Literal, NamedTuple, overload

from indexing.errors import InputError
from indexing.hits import PackedHits
from indexing.identity import id_of_key
from indexing.records import NO_PAYLOAD, Hit

FusionMethod = Literal["rrf", "dbsf", "weighted"]
Ranking = Sequence[Hit]
Credits = Mapping[str, float]
Scale = Callable[[Sequence[float]], list[float]]
Key = str | bytes
"""What a point is known by while rankings are fused: its id, or its packed id."""
_Payloads = Sequence[Mapping[str, object]] | None

RRF_K = 60

# Below this share of readable letters the dense side is skipped.  "请问 BM25 是什么"
# has 0.12; at 0.3 to 0.6 (a Chinese question about English terms) it still helps.
LEAST_COVERAGE = 0.2


class Fused(NamedTuple):
    """One point after fusion; ``ranks`` and ``scores`` hold its place in each side, None if absent."""

    id: str
    score: float
    payload: Mapping[str, object]
    ranks: tuple[int | None, ...]
    scores: tuple[float | None, ...]


class _Side(NamedTuple):
    """A ranking as it is looked into: its points' places, their scores, their payloads if they have any."""

    places: Mapping[Key, int]
    scores: Sequence[float]
    payloads: _Payloads


class Fusion(Sequence[Fused]):
    """Points after fusion, best first.

    A point is put together when it is looked at: a search fuses a hundred and shows ten.
    """

    def __init__(self, order: Sequence[tuple[float, Key]], sides: Sequence[_Side]) -> None:
        self._order = order
        self._sides = sides
        self._payloads = [side for side in sides if side.payloads]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Fused: ...
    @overload
    def __getitem__(self, index: slice) -> list[Fused]: ...
    def __getitem__(self, index: int | slice) -> Fused | list[Fused]:
        if isinstance(index, slice):
            return [self._point(*one) for one in self._order[index]]
        return self._point(*self._order[index])

    def _point(self, negative: float, key: Key) -> Fused:
        found = [(side.places.get(key), side) for side in self._sides]
        return Fused(
            key if isinstance(key, str) else id_of_key(key),
            -negative,
            self._payload(key) if self._payloads else NO_PAYLOAD,
            tuple([None if place is None else place + 1 for place, _ in found]),
            tuple([None if place is None else side.scores[place] for place, side in found]),
        )

    def _payload(self, key: Key) -> Mapping[str, object]:
        for places, _, payloads in self._payloads:
            place = places.get(key)
            if payloads and place is not None and payloads[place]:
                return payloads[place]
        return NO_PAYLOAD


def rrf(
    sides: Sequence[Ranking], weights: Sequence[float], k: int = RRF_K, *, credits: Credits | None = None
) -> Fusion:
    """Return the sides fused by reciprocal rank: a point scores the sum of ``weight / (k + rank)``.

    Scores of the sides do not matter, only their order.  ``k`` damps the lead
    of the first ranks; the paper's 60 is the default.  Qdrant counts ranks
    from 0, so its constant is ``k + 1`` for the same scores (its default of 2
    is ``k=1``), and its weights divide the rank instead.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
    Condorcet and individual Rank Learning Methods", SIGIR 2009.

    Raises:
        InputError: ``k`` below 1; weights that are negative, not finite, or
            not one a side.

    >>> a = Hit("a", 9.0, 1, {})
    >>> rrf([[a], [Hit("b", 0.5, 1, {}), Hit("a", 0.4, 2, {})]], [1.0, 1.0])[0].score == 1 / 61 + 1 / 62
    True
    """
    if k < 1:
        raise InputError(f"rrf_k must be at least 1, not {k}")

    def reciprocal(scores: Sequence[float]) -> list[float]:
        return [1.0 / (k + rank) for rank in range(1, len(scores) + 1)]

    return _fuse(sides, weights, credits, [reciprocal] * len(sides))


def dbsf(sides: Sequence[Ranking], weights: Sequence[float], *, credits: Credits | None = None) -> Fusion:
    """Return the sides fused by distribution-based scores.

    A score becomes ``(score - (mean - 3 sd)) / (6 sd)`` of its side, with the
    sample standard deviation; 0.5 for a single hit or equal scores.  Nothing
    is clipped, so an outlier keeps its lead.

    Source: Mazzeschi, "Distribution-Based Score Fusion (DBSF)", 2023; single
    and equal scores as in Qdrant.

    Raises:
        InputError: weights as in :func:`rrf`.
    """
    return _fuse(sides, weights, credits, [_three_sigma] * len(sides))


def weighted(
    sides: Sequence[Ranking],
    weights: Sequence[float],
    *,
    floors: Sequence[float | None] | None = None,
    credits: Credits | None = None,
) -> Fusion:
    """Return the sides fused by a weighted sum of min-max normalised scores.

    The best score of a side becomes 1, its floor 0.  The floor is the side's
    lowest score unless ``floors`` names one: BM25's is 0 (no word in common),
    a cosine has none.  A single hit, or hits of equal score, become 1: they
    are all the best their side has.

    Source: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid
    Retrieval", ACM TOIS 2023 (with a floor: their theoretical min-max).

    Args:
        sides: ranked lists.
        weights: one a side.
        floors: one a side, None for the lowest score found; a score below its
            floor lowers it.
        credits: see the module.

    Raises:
        InputError: weights as in :func:`rrf`; floors that are not one a side.
    """
    if floors is not None and len(floors) != len(sides):
        raise InputError(f"fusion got {len(sides)} rankings and {len(floors)} floors; give one each")
    scales = [partial(_min_max, floor=floor) for floor in floors or [None] * len(sides)]
    return _fuse(sides, weights, credits, scales)


def fuse(
    method: FusionMethod,
    sides: Sequence[Ranking],
    weights: Sequence[float],
    *,
    rrf_k: int = RRF_K,
    floors: Sequence[float | None] | None = None,
    credits: Credits | None = None,
) -> Fusion:
    """Return the sides fused by the named method; each takes what it knows of the rest.

    Raises:
        InputError: an unknown method, or what the method refuses.
    """
    if method == "rrf":
        return rrf(sides, weights, rrf_k, credits=credits)
    if method == "dbsf":
        return dbsf(sides, weights, credits=credits)
    if method == "weighted":
        return weighted(sides, weights, floors=floors, credits=credits)
    raise InputError(f"fusion {method!r} is not known; accepted: rrf, dbsf, weighted")


def side_weights(coverage: float, dense_weight: float = 0.5) -> tuple[float, float]:
    """Return the weights ``(dense, sparse)`` of a query, the larger possible one being 1.

    The dense side counts in proportion to how much of the query its encoder
    can read, and not at all below :data:`LEAST_COVERAGE`: an encoder that
    reads one word of a question answers another question.  Tried on mixed and
    pure folders against no weighing, a threshold alone, a ramp and the square
    of the coverage: proportional is best or within .005 of it.

    Args:
        coverage: share (0 to 1) of the query's letters in scripts the dense
            encoder knows.
        dense_weight: share of the dense side for a query it knows whole; 0.5
            gives both sides weight 1, reciprocal rank fusion as published.

    Raises:
        InputError: a share outside 0 to 1.

    >>> side_weights(1.0), side_weights(0.6), side_weights(0.1)
    ((1.0, 1.0), (0.6, 1.0), (0.0, 1.0))
    """
    for name, share in (("coverage", coverage), ("dense_weight", dense_weight)):
        if not 0 <= share <= 1:
            raise InputError(f"{name} is a share from 0 to 1, not {share!r}")
    if coverage < LEAST_COVERAGE:
        return 0.0, 1.0
    larger = max(dense_weight, 1 - dense_weight)
    return coverage * dense_weight / larger, (1 - dense_weight) / larger


def _three_sigma(scores: Sequence[float]) -> list[float]:
    if len(scores) < 2:
        return [0.5] * len(scores)
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
    if deviation == 0 or min(scores) == max(scores):
        return [0.5] * len(scores)
    return [0.5 + (score - mean) / (6 * deviation) for score in scores]


def _min_max(scores: Sequence[float], floor: float | None) -> list[float]:
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if low == high:
        return [1.0] * len(scores)
    if floor is not None:
        low = min(low, floor)
    return [(score - low) / (high - low) for score in scores]


def _fuse(
    sides: Sequence[Ranking],
    weights: Sequence[float],
    credits: Credits | None,
    scales: Sequence[Scale],
) -> Fusion:
    """Sum each point's weighted contributions over the sides that take part."""
    _check(sides, weights, credits or {})
    total = math.fsum(weights)
    packed = all(isinstance(side, PackedHits) or not side for side in sides)
    taken: list[_Side] = []
    contributed: list[dict[Key, float]] = []
    for side, weight, scale in zip(sides, weights, scales, strict=True):
        keys, scores, payloads = _columns(side, packed)
        taken.append(_Side(dict(zip(keys, range(len(keys)), strict=True)), scores, payloads))
        if weight == 0:
            continue
        shares: Iterable[float] = repeat(weight)
        if credits:
            named = (key if isinstance(key, str) else id_of_key(key) for key in keys)
            shares = [weight + credits.get(identity, 0.0) * (total - weight) for identity in named]
        contributed.append(dict(zip(keys, map(mul, shares, scale(scores)), strict=True)))
    sums: dict[Key, float] = {}
    several: set[Key] = set()
    for side_sums in contributed:
        several |= sums.keys() & side_sums.keys()
        sums |= side_sums
    for key in several:  # exact: the order of the sides cannot matter
        sums[key] = math.fsum([side_sums.get(key, 0.0) for side_sums in contributed])
    return Fusion(sorted(zip(map(neg, sums.values()), sums, strict=True)), taken)


def _columns(side: Ranking, packed: bool) -> tuple[Sequence[Key], Sequence[float], _Payloads]:
    """Return a side's points, scores and payloads, all without a point's second hit."""
    keys: Sequence[Key]
    payloads: _Payloads
    if packed and isinstance(side, PackedHits):
        keys, scores, payloads = side.keys, side.scores, side.payloads
    else:
        keys, scores = [hit.id for hit in side], [hit.score for hit in side]
        payloads = [hit.payload for hit in side] if any(hit.payload for hit in side) else None
    if len(set(keys)) == len(keys):
        return keys, scores, payloads
    first: dict[Key, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    places = first.values()
    return (
        list(first),
        [scores[place] for place in places],
        None if payloads is None else [payloads[place] for place in places],
    )


def _check(sides: Sequence[Ranking], weights: Sequence[float], credits: Credits) -> None:
    if len(weights) != len(sides):
        raise InputError(f"fusion got {len(sides)} rankings and {len(weights)} weights; give one weight each")
    for weight in weights:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"a fusion weight must be a number from 0 up, not {weight!r}")
    for identity, credit in credits.items():
        if not 0 <= credit <= 1:
            raise InputError(f"the credit of {identity!r} is a share from 0 to 1, not {credit!r}")
