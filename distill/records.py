"""What the room passes around: passages to judge, and lists with a teacher's scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What a teacher's number is.  ``rank`` is turned into a score when it is read:
# every score in the room is "higher is better".
Scale = Literal["logit", "probability", "grade", "rank"]

_SLICE = re.compile(r"(.*)#(\d+)-(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that can be judged against a query."""

    doc_id: str
    text: str


def slice_of(name: str) -> tuple[str, int, int] | None:
    """Return document, start and end of a mined passage's name; None for any other name.

    >>> slice_of("report.pdf#120-480"), slice_of("report.pdf")
    (('report.pdf', 120, 480), None)
    """
    found = _SLICE.fullmatch(name)
    return (found[1], int(found[2]), int(found[3])) if found else None


@dataclass(frozen=True, slots=True)
class Query:
    """A question with its id; ids are unique within one data set."""

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CandidateList:
    """One query and the passages to be judged or ranked for it, in first-stage order."""

    query: Query
    passages: tuple[Passage, ...]
    scores: tuple[float, ...] | None = None  # the first stage's, one a passage


@dataclass(frozen=True, slots=True)
class LabelledList:
    """One query, some passages, and one teacher's scores for them, ``(n_passages,)``.

    ``scores`` are comparable within the list only: a listwise teacher has no
    scale, and two teachers never share one.  ``human`` holds human grades
    where the data has them; they may train a comparison row, never the
    distilled student.
    """

    query: Query
    passages: tuple[Passage, ...]
    scores: tuple[float, ...]
    teacher: str
    scale: Scale
    human: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.passages):
            raise ValueError(f"{len(self.scores)} scores for {len(self.passages)} passages")
        if self.human is not None and len(self.human) != len(self.passages):
            raise ValueError(f"{len(self.human)} human grades for {len(self.passages)} passages")


def query_ids(lists: Sequence[LabelledList]) -> tuple[str, ...]:
    """The distinct query ids of ``lists``, in order of first appearance."""
    return tuple(dict.fromkeys(one.query.query_id for one in lists))
