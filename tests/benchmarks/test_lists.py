"""Judged lists as a retrieval set: three layouts, judgements beside them, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.lists import load_lists
from benchmarks.quality import app
from indexing.errors import InputError


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def passage(doc_id: str, text: str, **grades: object) -> dict[str, object]:
    return {"doc_id": doc_id, "text": text, **grades}


CATS, DOGS, OWLS = "Cats sleep all day.", "Dogs guard the house.", "Owls hunt at night."


def test_a_row_a_passage(tmp_path: Path) -> None:
    rows = [
        {"query_id": "q1", "query": "cats", **passage("d1", CATS, human_grade=3, teacher_grades={"t": 0})},
        {"query_id": "q1", "query": "cats", **passage("d2", DOGS, human_grade=0)},
        {"query_id": "q2", "query": "dogs", **passage("d2", DOGS, human_grade=1)},
        {"query_id": "q3", "query": "owls", **passage("d3", OWLS, human_grade=None)},
    ]
    corpus = tmp_path / "corpus.jsonl"
    judged = load_lists([written(tmp_path / "train.graded.jsonl.gz", rows)], corpus)
    assert judged.name == "train.graded"
    assert judged.queries == {"q1": "cats", "q2": "dogs"}
    assert judged.qrels == {"q1": {"d1": 3}, "q2": {"d2": 1}}
    assert judged.documents == 3
    assert [json.loads(line) for line in corpus.read_text().splitlines()] == [
        {"_id": doc_id, "title": "", "text": text}
        for doc_id, text in (("d1", CATS), ("d2", DOGS), ("d3", OWLS))
    ]


def test_a_row_a_list_and_judgements_of_teachers_do_not_count(tmp_path: Path) -> None:
    passages = [passage("d1", CATS, human_label=1, teacher_score=0.1), passage("d2", DOGS, teacher_score=0.9)]
    path = written(tmp_path / "lists.jsonl", [{"query_id": "q", "query": "cats", "passages": passages}])
    assert load_lists([path], tmp_path / "corpus.jsonl").qrels == {"q": {"d1": 1}}


def test_candidates_of_two_rankers_with_judgements_beside_them(tmp_path: Path) -> None:
    one = [{"query_id": "q", "query": "cats", "candidates": [passage("d1", CATS, score=9.0)]}]
    two = [{"query_id": "q", "query": "cats", "candidates": [passage("d1", CATS), passage("d2", DOGS)]}]
    files = [written(tmp_path / "a.jsonl", one), written(tmp_path / "b.jsonl", two)]
    qrels = tmp_path / "test.qrels"
    qrels.write_text("q 0 d1 0\nq 0 d2 2\nq 0 elsewhere 3\nother 0 d1 3\n")
    judged = load_lists(files, tmp_path / "corpus.jsonl", qrels)
    assert (judged.name, judged.documents, judged.qrels) == ("a+b", 2, {"q": {"d2": 2}})
    qrels.write_text("q 0 d2 1\n")
    assert load_lists(files, tmp_path / "corpus.jsonl", qrels).checksum != judged.checksum


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"query_id": "q", "query": "x", "passages": [passage("d", "a"), passage("d", "b")]}], "two texts"),
        ([{"query_id": "q", "query": "x", "passages": [{"doc_id": "d"}]}], "list 1: expected"),
        ([{"query_id": "q", "query": "x", "passages": 3}], "list 1: expected"),
        ([{"query": "x", "passages": []}], "list 1: expected"),
        ([{"query_id": "q", "query": "x", "passages": [passage("d", "a", human_label="high")]}], "expected"),
        ([{"query_id": "q", "query": "x", "passages": [passage("d", "a")]}], "--qrels"),
    ],
)
def test_what_is_no_judged_list_is_refused(tmp_path: Path, rows: list[dict[str, object]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_lists([written(tmp_path / "lists.jsonl", rows)], tmp_path / "corpus.jsonl")


def test_the_command_measures_them(tmp_path: Path) -> None:
    passages = [passage("d1", CATS, human_label=1), passage("d2", DOGS), passage("d3", OWLS)]
    path = written(
        tmp_path / "pets.jsonl", [{"query_id": "q", "query": "When do cats sleep?", "passages": passages}]
    )
    shown = CliRunner().invoke(app, ["--lists", str(path), "--keep", str(tmp_path / "kept")])
    assert shown.exit_code == 0, shown.output
    assert "pets (" in shown.output
    assert "3 documents, 1 queries" in shown.output
    assert shown.output.count("1.000 (1.000-1.000)") == 12  # every mode and measure finds the one answer
    nothing = CliRunner().invoke(app, [])
    assert nothing.exit_code == 2
    assert "--lists" in nothing.output
