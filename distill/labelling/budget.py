"""Which pairs to label when only so many can be paid for.

Every candidate gets a value, and each query labels its most valuable ones.

*Disagreement* of the rankers that have scored a query (dense, sparse, the
student where there is one).  A ranker's vote for a passage is the discount of
its rank, ``1 / log2(1 + rank)``, 0 for a passage it did not see, so that
quarrels near the top count most::

    D(p) = standard deviation over rankers of 1 / log2(1 + rank_r(p))

Source: Seung, Opper and Sompolinsky, "Query by committee", COLT 1992, with the
discount of Järvelin and Kekäläinen's NDCG (2002) as the vote.

*Uncertainty* of the student (else of the fused score): how near a passage is
to the line between the first ten and the rest, ``z`` being scores standardised
within the query::

    U(p) = 4 s (1 - s),   s = 1 / (1 + exp(z_10 - z(p)))

Source: Lewis and Gale, "A sequential algorithm for training text classifiers",
SIGIR 1994.

``both`` is ``D / mean(D) + U / mean(U)``, means over the query.  Queries share
the budget evenly: many queries judged shallowly teach more than few judged
deeply (Yilmaz and Robertson, SIGIR 2009).

``python -m benchmarks.label_budget`` measures every strategy against random
choice: ``both`` is ahead with five pairs a query and level from ten on;
``uncertainty`` alone is far behind, since pairs around the tenth place have
nearly the same grade and a ranking loss learns from contrast
(docs/labelling.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from distill.mining.rows import MinedList
from indexing.errors import InputError

Strategy = Literal["both", "disagreement", "uncertainty", "top", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

_Floats = npt.NDArray[np.float64]
_CUT = 10  # of NDCG@10, what the reranker is judged by
_RANKERS = ("dense", "sparse", "student")
# Fewer labels than this for one query are hardly a ranking.
MIN_PER_QUERY = 4


def spend(lists: Sequence[MinedList], budget: int, strategy: Strategy, *, seed: int = 0) -> list[MinedList]:
    """Return the lists cut down to ``budget`` pairs in all, passages in their old order.

    Every query gets an equal share (short lists give theirs back).  Where that
    would be under :data:`MIN_PER_QUERY` pairs each, some queries, drawn by
    ``seed``, go without.  The same call chooses the same pairs, so a run that
    was killed goes on with its own.

    Raises:
        InputError: a strategy that needs scores, and candidates without any.
    """
    shares = _shares([len(one.candidates.passages) for one in lists], budget, seed)
    chosen = []
    for one, share in zip(lists, shares, strict=True):
        if share:
            worth = values(one, strategy, seed)
            places = sorted(np.argsort(-worth, kind="stable")[:share].tolist())
            chosen.append(one.keep(places))
    return chosen


def values(one: MinedList, strategy: Strategy, seed: int = 0) -> _Floats:
    """Return what a label of each passage is worth, ``(n_passages,)``; only their order counts."""
    count = len(one.candidates.passages)
    if strategy == "random":
        return _generator(f"{seed}/{one.candidates.query.query_id}").random(count)
    signals = {name: np.asarray(found, dtype=np.float64) for name, found in one.signals.items()}
    if not signals:
        raise InputError(
            f"query {one.candidates.query.query_id!r} has candidates without scores, which the strategy "
            f"{strategy!r} needs; mine them with: python -m distill mine, or take --strategy random"
        )
    if strategy == "top":
        return -np.asarray(_ranks(_judge(signals)))
    if strategy == "disagreement":
        return disagreement(_committee(signals))
    if strategy == "uncertainty":
        return uncertainty(_judge(signals))
    return _scaled(disagreement(_committee(signals))) + _scaled(uncertainty(_judge(signals)))


def disagreement(rankers: Sequence[_Floats]) -> _Floats:
    """Return D of each passage; ``rankers`` are score arrays, NaN for a passage not seen.

    >>> disagreement([np.array([3.0, 2.0]), np.array([3.0, 2.0])]).tolist()
    [0.0, 0.0]
    """
    votes = [np.where(np.isnan(scores), 0.0, 1 / np.log2(1 + _ranks(scores))) for scores in rankers]
    return np.asarray(np.std(votes, axis=0), dtype=np.float64)


def uncertainty(scores: _Floats) -> _Floats:
    """Return U of each passage: 1 at the line between the first ten and the rest."""
    filled = np.where(np.isnan(scores), np.nanmin(scores), scores)
    spread = float(filled.std())
    z = (filled - filled.mean()) / (spread if spread > 0 else 1.0)
    ordered = np.sort(z)[::-1]
    cut = min(_CUT, len(ordered))
    # Half-way between the last one in and the first one out, so that both are equally near.
    line = float(ordered[cut - 1 : cut + 1].mean())
    share = 1 / (1 + np.exp(line - z))
    return np.asarray(4 * share * (1 - share), dtype=np.float64)


def _ranks(scores: _Floats) -> _Floats:
    """Ranks from 1, best first; equal scores in the candidates' order, NaN last."""
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks


def _judge(signals: Mapping[str, _Floats]) -> _Floats:
    """The best opinion there is: the student's, else the fused score, else any."""
    for name in ("student", "score"):
        if name in signals:
            return signals[name]
    return next(iter(signals.values()))


def _committee(signals: Mapping[str, _Floats]) -> list[_Floats]:
    """The rankers that differ from each other; the fused score only echoes two of them."""
    found = [signals[name] for name in _RANKERS if name in signals]
    return found if len(found) > 1 else list(signals.values())


def _scaled(worth: _Floats) -> _Floats:
    mean = float(worth.mean()) if len(worth) else 0.0
    return worth / mean if mean > 0 else worth


def _shares(lengths: Sequence[int], budget: int, seed: int) -> list[int]:
    """How many pairs each query labels: equal, none above its length, the sum at most ``budget``."""
    shares = [0] * len(lengths)
    able = max(1, budget // MIN_PER_QUERY)
    order = _generator(f"{seed}/queries").permutation(len(lengths))[:able].tolist()
    waiting, left = sorted(order, key=lambda i: lengths[i]), budget
    for position, i in enumerate(waiting):  # the shortest first: what they leave goes to the others
        shares[i] = min(lengths[i], left // (len(waiting) - position))
        left -= shares[i]
    return shares


def _generator(seed: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
