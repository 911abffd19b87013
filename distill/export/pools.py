"""What the export's gate measures on: queries with their candidates, and grades if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from distill.layouts import Layout, read_candidates, read_labels
from distill.records import CandidateList, LabelledList, Scale
from indexing.errors import InputError

_TOP = 3  # the best grade of a list without a scale of its own


@dataclass(frozen=True, slots=True)
class Pool:
    """One query and its candidates; ``grades`` None: nobody judged them."""

    query_id: str
    query: str
    texts: Mapping[str, str]
    grades: Mapping[str, int] | None


def read_pools(path: Path, layout: str, *, limit: int) -> list[Pool]:
    """Return at most ``limit`` pools of a labelled file, or of one with candidates only.

    Raises:
        InputError: an unknown layout, or a file that does not fit it.
    """
    if layout == "candidates":
        return [_unjudged(one) for one in read_candidates(path)[:limit]]
    if layout not in get_args(Layout):
        raise InputError(
            f"layout {layout!r} is not known; accepted: candidates, {', '.join(get_args(Layout))}"
        )
    lists = read_labels(path, cast(Layout, layout))
    first = {one.query.query_id: one for one in reversed(lists)}  # one teacher a query is enough here
    return [_judged(one) for one in list(first.values())[::-1][:limit]]


def grades_of(scores: Sequence[float], scale: Scale) -> list[int]:
    """Return whole grades of 0 and more for a teacher's scores.

    Grades are rounded and probabilities made thirds; a logit or a rank has no
    scale, so the best tenth of the list gets 3, the next two tenths 2 and the
    next three 1.
    """
    if scale == "grade":
        return [max(0, round(score)) for score in scores]
    if scale == "probability":
        return [round(score * _TOP) for score in scores]
    return ranked_grades(scores)


def ranked_grades(scores: Sequence[float]) -> list[int]:
    """Return 3, 2, 1 or 0 by place in the list, best first; the best one always has 3."""
    grades = [0] * len(scores)
    for place, row in enumerate(sorted(range(len(scores)), key=lambda row: -scores[row])):
        share = place / len(scores)
        grades[row] = 3 if place == 0 or share < 0.1 else 2 if share < 0.3 else 1 if share < 0.6 else 0
    return grades


def _judged(one: LabelledList) -> Pool:
    ids = [passage.doc_id for passage in one.passages]
    grades = dict(zip(ids, grades_of(one.scores, one.scale), strict=True))
    return Pool(one.query.query_id, one.query.text, {p.doc_id: p.text for p in one.passages}, grades)


def _unjudged(one: CandidateList) -> Pool:
    return Pool(one.query.query_id, one.query.text, {p.doc_id: p.text for p in one.passages}, None)
