"""A teacher whose scores are in files."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from distill.errors import UnknownPairError
from distill.records import Passage, Query
from distill.teachers import TeacherAnswer, TeacherSettings, open_teacher
from distill.teachers.precomputed import PrecomputedTeacher
from indexing.errors import InputError, SettingsError

QUERY = Query("q1", "what keeps rice fresh")
A, B, C = Passage("a", "A cold place."), Passage("b", "A crane."), Passage("c", "A lid.")


def graded(doc: Passage, **grades: float) -> dict[str, object]:
    return {
        "query_id": "q1",
        "query": QUERY.text,
        "doc_id": doc.doc_id,
        "text": doc.text,
        "teacher_grades": grades,
    }


def ranking(query: Query, teacher: str, *docs: Passage) -> dict[str, object]:
    passages = [
        {"doc_id": one.doc_id, "text": one.text, "teacher_rank": rank}
        for rank, one in enumerate(docs, start=1)
    ]
    return {"query_id": query.query_id, "query": query.text, "teacher": teacher, "passages": passages}


def write(path: Path, *rows: object) -> Path:
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def opened(layout: str, *files: Path, model: str = "") -> PrecomputedTeacher:
    settings = TeacherSettings.model_validate(
        {"kind": "precomputed", "layout": layout, "files": files, "model": model}
    )
    teacher = open_teacher(settings)
    assert isinstance(teacher, PrecomputedTeacher)
    return teacher


def score(teacher: PrecomputedTeacher, query: Query, *passages: Passage) -> TeacherAnswer:
    return asyncio.run(teacher.score(query, passages))


def test_grades_are_looked_up_pair_by_pair(tmp_path: Path) -> None:
    file = write(tmp_path / "g.jsonl", graded(A, big=3, small=1), graded(B, big=0, small=2), graded(C, big=2))
    teacher = opened("graded", file, model="big")
    answer = score(teacher, QUERY, C, A)
    assert answer == TeacherAnswer((2.0, 3.0), "grade")
    assert (teacher.card.model, teacher.card.kind, teacher.card.scale) == ("big", "pointwise", "grade")
    assert [len(one.passages) for one in teacher.candidates] == [3]
    with pytest.raises(UnknownPairError, match="no score for c of query 'q1'"):
        score(opened("graded", file, model="small"), QUERY, A, C)


def test_a_list_is_answered_from_one_list(tmp_path: Path) -> None:
    file = write(
        tmp_path / "l.jsonl.gz",
        ranking(QUERY, "gpt", A, B, C),
        ranking(QUERY, "gpt", C, A),
        ranking(Query("q2", "other"), "gpt", B, A),
    )
    teacher = opened("listwise", file)
    assert teacher.card.kind == "listwise"
    # The list with just these passages, not the longer one, where a is before c.
    assert score(teacher, QUERY, A, C).scores == (-2.0, -1.0)
    assert score(teacher, QUERY, A, B, C).scores == (-1.0, -2.0, -3.0)
    assert score(teacher, QUERY, C, B).scores == (-3.0, -2.0)
    assert [one.query.query_id for one in teacher.candidates] == ["q1", "q1", "q2"]


def test_pairs_of_two_lists_are_not_mixed(tmp_path: Path) -> None:
    file = write(tmp_path / "l.jsonl", ranking(QUERY, "gpt", A, B), ranking(QUERY, "gpt", C, B))
    with pytest.raises(UnknownPairError, match="no list with all these passages"):
        score(opened("listwise", file), QUERY, A, C)


@pytest.mark.parametrize(
    ("query", "passage", "message"),
    [
        (Query("q9", QUERY.text), A, "no query 'q9'"),
        (QUERY, Passage("z", "?"), "no score for z"),
        (QUERY, Passage("a", "Another text."), "'a' of query 'q1' was judged with another text"),
        (Query("q1", "what keeps bread fresh"), A, "query 'q1' was judged with another text"),
    ],
)
def test_what_was_not_judged_is_named(tmp_path: Path, query: Query, passage: Passage, message: str) -> None:
    file = write(tmp_path / "l.jsonl", ranking(QUERY, "gpt", A, B))
    with pytest.raises(UnknownPairError, match=message):
        score(opened("listwise", file), query, passage)


def test_white_space_is_no_other_text(tmp_path: Path) -> None:
    file = write(tmp_path / "l.jsonl", ranking(QUERY, "gpt", A, B))
    assert score(opened("listwise", file), QUERY, Passage("a", " A  cold place.\n")).scores == (-1.0,)


def test_the_teacher_is_named_when_there_are_several(tmp_path: Path) -> None:
    file = write(tmp_path / "l.jsonl", ranking(QUERY, "one", A, B), ranking(QUERY, "two", B, A))
    with pytest.raises(SettingsError, match="name one of the teachers in the files: one, two"):
        opened("listwise", file)
    with pytest.raises(InputError, match=r"no teacher 'three'; they have: one, two"):
        opened("listwise", file, model="three")
    assert score(opened("listwise", file, model="two"), QUERY, A, B).scores == (-2.0, -1.0)
    with pytest.raises(SettingsError, match="no rows"):
        opened("listwise", write(tmp_path / "empty.jsonl"))
    with pytest.raises(InputError, match="line 1"):
        opened("pointwise", file)


def test_the_card_follows_the_content_of_the_files(tmp_path: Path) -> None:
    first = opened("listwise", write(tmp_path / "a.jsonl", ranking(QUERY, "gpt", A, B))).card
    moved = opened("listwise", write(tmp_path / "b.jsonl", ranking(QUERY, "gpt", A, B))).card
    other = opened("listwise", write(tmp_path / "a.jsonl", ranking(QUERY, "gpt", B, A))).card
    assert moved.id == first.id
    assert other.id != first.id
    assert str(tmp_path) not in first.model_dump_json()
