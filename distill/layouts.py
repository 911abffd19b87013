"""JSONL files of queries, passages and teachers' scores, plain or gzipped.

Four layouts, each with its own reader; a row that does not fit is refused
with its file and line::

    graded      {"query_id", "query", "doc_id", "text", "teacher_grades": {teacher: grade}, "human_grade"?}
    listwise    {"query_id", "query", "teacher", "passages": [{"doc_id", "text", "teacher_rank"}]}
    pointwise   {"query_id", "query", "passages": [{"doc_id", "text", "teacher_score", "human_label"?}]}
    labels      {"query_id", "query", "teacher", "scale", "passages": [{"doc_id", "text", "score"}]}

``labels`` is what ``python -m distill label`` writes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.records import CandidateList, LabelledList, Passage, Query, Scale
from indexing.errors import InputError

Layout = Literal["graded", "listwise", "pointwise", "labels"]
_NonEmpty = Annotated[str, Field(min_length=1)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class _Graded(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    doc_id: _NonEmpty
    text: str
    teacher_grades: Mapping[str, _Finite | tuple[_Finite, ...]]
    human_grade: int | None = None


class _Ranked(_Row):
    doc_id: _NonEmpty
    text: str
    teacher_rank: int = Field(ge=1)


class _Listwise(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    teacher: _NonEmpty
    passages: tuple[_Ranked, ...]


class _Scored(_Row):
    doc_id: _NonEmpty
    text: str
    teacher_score: _Finite
    human_label: int | None = None


class _Pointwise(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    passages: tuple[_Scored, ...]
    teacher: str = "teacher"


class _Labelled(_Row):
    doc_id: _NonEmpty
    text: str
    score: _Finite


class _Labels(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    teacher: _NonEmpty
    scale: Scale
    passages: tuple[_Labelled, ...]


class _Candidate(_Row):
    doc_id: _NonEmpty
    text: str
    score: _Finite | None = None


class _Candidates(_Row):
    query_id: _NonEmpty
    query: _NonEmpty
    candidates: tuple[_Candidate, ...]


_RowType = TypeVar("_RowType", bound=_Row)


def read_labels(path: Path, layout: Layout) -> list[LabelledList]:
    """Return the labelled lists of one file; a graded file gives one list per query and teacher.

    Raises:
        InputError: the file cannot be read, or a row is not of the layout.
    """
    return _READERS[layout](path)


def read_candidates(path: Path) -> list[CandidateList]:
    """Return the candidate lists of a file of ``{"query_id", "query", "candidates": [...]}`` rows."""
    found = []
    for row in _rows(path, _Candidates):
        scores = tuple(one.score for one in row.candidates if one.score is not None)
        found.append(
            CandidateList(
                Query(row.query_id, row.query),
                tuple(Passage(one.doc_id, one.text) for one in row.candidates),
                scores if len(scores) == len(row.candidates) else None,
            )
        )
    return found


def _read_graded(path: Path) -> list[LabelledList]:
    pools: dict[tuple[str, str], list[tuple[_Graded, float]]] = {}
    for row in _rows(path, _Graded):
        for teacher, grade in row.teacher_grades.items():
            # [mean, number of prompts], or criteria whose last entry is the aggregate.
            value = grade if isinstance(grade, float) else grade[-1 if teacher.endswith("_crit") else 0]
            pools.setdefault((row.query_id, teacher), []).append((row, value))
    return [
        LabelledList(
            Query(query_id, pool[0][0].query),
            tuple(Passage(row.doc_id, row.text) for row, _ in pool),
            tuple(value for _, value in pool),
            teacher,
            "grade",
            tuple(row.human_grade for row, _ in pool),
        )
        for (query_id, teacher), pool in pools.items()
    ]


def _read_listwise(path: Path) -> list[LabelledList]:
    return [
        LabelledList(
            Query(row.query_id, row.query),
            tuple(Passage(one.doc_id, one.text) for one in row.passages),
            tuple(-float(one.teacher_rank) for one in row.passages),
            row.teacher,
            "rank",
        )
        for row in _rows(path, _Listwise)
    ]


def _read_pointwise(path: Path) -> list[LabelledList]:
    return [
        LabelledList(
            Query(row.query_id, row.query),
            tuple(Passage(one.doc_id, one.text) for one in row.passages),
            tuple(one.teacher_score for one in row.passages),
            row.teacher,
            "probability",
            tuple(one.human_label for one in row.passages),
        )
        for row in _rows(path, _Pointwise)
    ]


def _read_own(path: Path) -> list[LabelledList]:
    return [
        LabelledList(
            Query(row.query_id, row.query),
            tuple(Passage(one.doc_id, one.text) for one in row.passages),
            tuple(one.score for one in row.passages),
            row.teacher,
            row.scale,
        )
        for row in _rows(path, _Labels)
    ]


_READERS: Mapping[Layout, Callable[[Path], list[LabelledList]]] = {
    "graded": _read_graded,
    "listwise": _read_listwise,
    "pointwise": _read_pointwise,
    "labels": _read_own,
}


def _rows(path: Path, kind: type[_RowType]) -> Iterator[_RowType]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the row"
            raise InputError(f"{path}, line {number}: {where}: {first['msg']}") from error


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, plain or gzipped; raises InputError when it cannot be read."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            yield from file
    except (OSError, UnicodeDecodeError, EOFError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
