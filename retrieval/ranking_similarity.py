"""How alike two rankings of the same question are: overlap, order, and the weight of the top.

Each function takes ids, best first, without repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations


def overlap(reference: Sequence[str], other: Sequence[str], k: int) -> float:
    """Return the share of the reference's first ``k`` that the other's first ``k`` hold: its Recall@k.

    >>> overlap(["a", "b"], ["b", "c"], 2)
    0.5
    """
    wanted = set(reference[:k])
    return len(wanted & set(other[:k])) / len(wanted) if wanted else 1.0


def kendall(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Return Kendall's tau (-1 to 1) over the ids in both; None when fewer than two are.

    Kendall, "A New Measure of Rank Correlation", Biometrika 1938.

    >>> kendall(["a", "b", "c"], ["a", "c", "b"])
    0.3333333333333333
    """
    place = {id: at for at, id in enumerate(other)}
    shared = [place[id] for id in one if id in place]
    pairs = len(shared) * (len(shared) - 1) // 2
    if not pairs:
        return None
    swapped = sum(first > second for first, second in combinations(shared, 2))
    return 1 - 2 * swapped / pairs


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], p: float = 0.9) -> float:
    """Return the agreement (0 to 1) with weight on the top: extrapolated RBO.

    ``p`` 0.9 gives the first ten ranks 86% of the weight.  Webber, Moffat and
    Zobel, "A Similarity Measure for Indefinite Rankings", TOIS 2010, eq. 32
    for lists of one length; a shorter list is compared as far as it goes.

    >>> rank_biased_overlap(["a", "b"], ["a", "b"])
    1.0
    """
    depth = min(len(one), len(other))
    if not depth:
        return 1.0 if len(one) == len(other) else 0.0
    seen_one: set[str] = set()
    seen_other: set[str] = set()
    total, shared = 0.0, 0
    for rank in range(1, depth + 1):
        first, second = one[rank - 1], other[rank - 1]
        seen_one.add(first)
        seen_other.add(second)
        shared += first == second
        shared += first != second and first in seen_other
        shared += first != second and second in seen_one
        total += p**rank * shared / rank
    return shared / depth * p**depth + (1 - p) / p * total
