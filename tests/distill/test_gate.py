"""The gate: what passes, what is refused, and who is named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from distill.errors import GateError
from distill.gate import GateSet, GateSettings, compare
from distill.gate_sets import candidates_file, labelled_file
from distill.records import CandidateList, Passage, Query
from indexing.errors import InputError

DOCS = ("a", "b", "c", "d")


class Table:
    """Scores by (query, text); a text that is not listed scores 0."""

    def __init__(self, scores: Mapping[tuple[str, str], float]) -> None:
        self._scores = scores

    def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._scores.get((query, text), 0.0) for text in texts], dtype=np.float32)


def pools(count: int) -> GateSet:
    """``count`` queries of four passages each; the right one is ``a``, and a good one is outside the pool."""
    lists = [
        CandidateList(Query(f"q{number}", f"question {number}"), tuple(Passage(doc, doc) for doc in DOCS))
        for number in range(count)
    ]
    return GateSet("dev", "in", lists, {f"q{number}": {"a": 2, "outside": 1} for number in range(count)})


def right(count: int, wrong: Sequence[int] = ()) -> Table:
    """The right passage first, except for the questions ``wrong``, which get it last."""
    scores = {}
    for number in range(count):
        for place, doc in enumerate(DOCS):
            scores[f"question {number}", doc] = float(place) if number in wrong else -float(place)
    return Table(scores)


def test_the_same_model_passes_with_no_change() -> None:
    report = compare(right(12), right(12), [pools(12)])
    (only,) = report.sets
    assert report.passed
    assert only.before == only.after
    assert (only.better, only.equal, only.worse, only.broken) == (0, 12, 0, 0)
    report.require()


def test_a_missed_answer_is_charged_to_both_sides() -> None:
    (only,) = compare(right(12), right(12), [pools(12)]).sets
    ideal = 2 + 1 / np.log2(3)
    assert only.before["NDCG@10"] == pytest.approx(2 / ideal)


def test_a_worse_model_is_refused_and_the_queries_are_named() -> None:
    report = compare(right(12), right(12, wrong=[3, 7]), [pools(12)])
    assert not report.passed
    with pytest.raises(GateError, match=r"not published: dev \(in domain\): NDCG@10 falls") as caught:
        report.require()
    assert "q3 'question 3'" in str(caught.value)
    assert "q7 'question 7'" in str(caught.value)
    assert "q1 " not in str(caught.value)
    assert [change.query_id for change in report.sets[0].most_worse] == ["q3", "q7"]


def test_a_better_model_passes() -> None:
    report = compare(right(12, wrong=[1, 2, 3]), right(12, wrong=[1]), [pools(12)])
    assert report.passed
    assert report.sets[0].better == 2


def test_out_of_domain_has_its_own_bound() -> None:
    settings = GateSettings(max_drop_in=0.0, max_drop_out=0.5, max_broken=1.0)
    inside = pools(12)
    outside = GateSet("far", "out", inside.pools, inside.qrels)
    worse = right(12, wrong=[0])
    assert compare(right(12), worse, [outside], settings).passed
    refused = compare(right(12), worse, [inside, outside], settings)
    assert [one.refusal is None for one in refused.sets] == [False, True]


def test_many_broken_queries_are_refused_although_the_mean_holds() -> None:
    settings = GateSettings(max_drop_query=0.2, max_broken=0.1)
    report = compare(right(12, wrong=[4, 5, 6]), right(12, wrong=[0, 1]), [pools(12)], settings)
    with pytest.raises(GateError, match=r"2 of 12 queries fall by more than 0\.2"):
        report.require()


def test_a_set_that_is_too_small_proves_nothing() -> None:
    with pytest.raises(GateError, match="has 3 judged queries"):
        compare(right(3), right(3), [pools(3)]).require()


def test_nothing_to_compare_on_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to compare on"):
        compare(right(1), right(1), [])
    empty = GateSet("dev", "in", pools(2).pools, {"other": {"a": 1}})
    with pytest.raises(InputError, match="no judged query"):
        compare(right(2), right(2), [empty])


def test_scores_that_are_not_finite_are_refused() -> None:
    broken = Table({("question 1", "b"): float("nan")})
    with pytest.raises(InputError, match="query q1: 4 finite scores"):
        compare(right(12), broken, [pools(12)])


def test_ties_go_to_the_lower_id() -> None:
    (only,) = compare(Table({}), Table({}), [pools(12)]).sets
    assert only.before["MRR@10"] == 1.0  # all scores are equal, "a" comes first


def test_the_report_is_json(tmp_path: Path) -> None:
    compare(right(12), right(12, wrong=[3]), [pools(12)]).write(tmp_path / "gate.json")
    report = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    assert report["sets"][0]["most_worse"][0]["query_id"] == "q3"
    assert "falls from" in report["sets"][0]["refusal"]


def test_sets_are_read_from_files(tmp_path: Path) -> None:
    row = {"query_id": "q", "query": "who", "candidates": [{"doc_id": doc, "text": doc} for doc in DOCS]}
    (tmp_path / "pool.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "qrels").write_text("q 0 b 3\nq 0 c 1\n", encoding="utf-8")
    given = candidates_file(tmp_path / "pool.jsonl", tmp_path / "qrels", "out")
    assert given.qrels == {"q": {"b": 3, "c": 1}}
    settings = GateSettings(min_queries=1)
    (only,) = compare(Table({}), Table({("who", "b"): 1.0}), [given], settings).sets
    assert only.after["MRR@10"] == 1.0
    assert only.before["MRR@10"] == 0.5
    (tmp_path / "bad").write_text("q 0 b\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: expected QUERY 0 DOCUMENT GRADE"):
        candidates_file(tmp_path / "pool.jsonl", tmp_path / "bad", "out")


def test_teachers_grades_become_judgements(tmp_path: Path) -> None:
    rows = [
        {
            "query_id": "q",
            "query": "who",
            "teacher": teacher,
            "scale": "grade",
            "passages": [
                {"doc_id": doc, "text": doc, "score": score} for doc, score in zip("ab", scores, strict=True)
            ],
        }
        for teacher, scores in (("one", (0, 2)), ("two", (0, 8)))
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = labelled_file(tmp_path / "labels.jsonl", "labels", "in")
    assert list(given.qrels.values()) == [{"a": 0, "b": 30}]
    assert given.relevant_from == 20
