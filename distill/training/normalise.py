"""A teacher's scores made comparable: per query and per teacher, and several teachers as one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from distill.records import LabelledList, Passage, Query, Scale

Method = Literal["z-score", "min-max", "none"]

_LEAST_SPREAD = 1e-9
# From here a score counts as "this passage answers the query": the middle of
# a probability's or logit's range, TREC's usual cut on a grade of 0 to 3.
_POSITIVE_FROM: dict[Scale, float] = {"probability": 0.5, "logit": 0.0, "grade": 2.0}


def normalised(scores: Sequence[float], method: Method) -> list[float]:
    """Return one list's scores scaled; a list whose scores are all equal becomes zeros.

    z-score: mean 0, population standard deviation 1.  min-max: 0 to 1.

    >>> normalised([1.0, 2.0, 3.0], "min-max")
    [0.0, 0.5, 1.0]
    """
    if method == "none" or not scores:
        return list(scores)
    if method == "min-max":
        least = min(scores)
        spread = max(scores) - least
    else:
        least = math.fsum(scores) / len(scores)
        spread = math.sqrt(math.fsum((score - least) ** 2 for score in scores) / len(scores))
    if spread < _LEAST_SPREAD:
        return [0.0] * len(scores)
    return [(score - least) / spread for score in scores]


def positives(one: LabelledList) -> tuple[bool, ...]:
    """Return which passages count as relevant when only hard labels are wanted.

    A rank says only which passage is the best; every other scale has a cut.
    """
    if one.scale == "rank":
        best = max(one.scores, default=0.0)
        return tuple(score == best for score in one.scores)
    cut = _POSITIVE_FROM[one.scale]
    return tuple(score >= cut for score in one.scores)


def consensus(
    lists: Iterable[LabelledList], *, method: Literal["z-score", "grade"] = "z-score"
) -> list[LabelledList]:
    """Return one list per query: for each passage the mean of its teachers' scaled scores.

    z-score: each teacher's list by itself, so the result orders the passages
    of one query and says nothing across queries (scale ``rank``).  grade: each
    teacher's whole range is stretched to 0..3, so a query without a good
    passage stays one (scale ``grade``).

    A teacher that did not judge a passage has no part in its mean.  Human
    grades go along.  Order: queries and passages by first appearance.
    """
    given = list(lists)
    scale = _z_scale(given) if method == "z-score" else _grade_scale(given)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    passages: dict[str, dict[str, Passage]] = defaultdict(dict)
    human: dict[str, dict[str, int | None]] = defaultdict(dict)
    queries: dict[str, Query] = {}
    for one in given:
        query_id = one.query.query_id
        queries.setdefault(query_id, one.query)
        grades = one.human or (None,) * len(one.passages)
        for passage, score, grade in zip(one.passages, scale(one), grades, strict=True):
            scores[query_id][passage.doc_id].append(score)
            passages[query_id].setdefault(passage.doc_id, passage)
            if human[query_id].get(passage.doc_id) is None:
                human[query_id][passage.doc_id] = grade
    return [
        LabelledList(
            query,
            tuple(passages[query_id].values()),
            tuple(math.fsum(parts) / len(parts) for parts in scores[query_id].values()),
            "consensus",
            "rank" if method == "z-score" else "grade",
            tuple(human[query_id].values()),
        )
        for query_id, query in queries.items()
    ]


def by_humans(lists: Iterable[LabelledList]) -> list[LabelledList]:
    """Return one list per query with the human grades as scores, of the passages that have one."""
    found: dict[str, dict[str, tuple[Passage, int]]] = defaultdict(dict)
    queries: dict[str, Query] = {}
    for one in lists:
        queries.setdefault(one.query.query_id, one.query)
        for passage, grade in zip(one.passages, one.human or (), strict=False):
            if grade is not None:
                found[one.query.query_id].setdefault(passage.doc_id, (passage, grade))
    return [
        LabelledList(
            queries[query_id],
            tuple(passage for passage, _ in rows.values()),
            tuple(float(grade) for _, grade in rows.values()),
            "human",
            "grade",
            tuple(grade for _, grade in rows.values()),
        )
        for query_id, rows in found.items()
    ]


def _z_scale(_: Sequence[LabelledList]) -> Callable[[LabelledList], list[float]]:
    return lambda one: normalised(one.scores, "z-score")


def _grade_scale(lists: Sequence[LabelledList]) -> Callable[[LabelledList], list[float]]:
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    for one in lists:
        least[one.teacher] = min([*one.scores, least.get(one.teacher, math.inf)])
        most[one.teacher] = max([*one.scores, most.get(one.teacher, -math.inf)])

    def scale(one: LabelledList) -> list[float]:
        spread = max(most[one.teacher] - least[one.teacher], _LEAST_SPREAD)
        return [3.0 * (score - least[one.teacher]) / spread for score in one.scores]

    return scale
