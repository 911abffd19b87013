"""Candidates, judgements, run files and MTEB rows: what is read, and what is refused."""

from __future__ import annotations

import json

import pytest

from benchmarks.evaluate.sets import candidates_set, mteb_set, trec_qrels
from benchmarks.evaluate.systems import RunFile
from indexing.errors import InputError
from tests.fakes.judged_files import write_candidates


def test_a_run_file_ranks_the_pool_and_nothing_else(tmp_path):
    path = tmp_path / "teacher.run"
    path.write_text("q1 Q0 d2 1 9.5 t\nq1 Q0 gone 2 9 t\nq1 Q0 d1 3 1 t\n")
    run = RunFile(path)
    assert run.rank("q1", "", ["d1", "d3", "d2"], []).doc_ids == ["d2", "d1", "d3"]
    assert run.rank("q2", "", ["d1"], []).doc_ids == []


@pytest.mark.parametrize("line", ["q1 Q0 d1\n", "q1 Q0 d1 1 high t\n", "q1 Q0 d1 1 nan t\n", "\n"])
def test_a_damaged_run_file_is_refused_with_its_place(tmp_path, line):
    path = tmp_path / "bad.run"
    path.write_text(line)
    with pytest.raises(InputError, match=r"bad\.run"):
        RunFile(path)


def test_candidates_are_ordered_by_score_then_id(tmp_path):
    files = write_candidates(tmp_path)
    pooled = candidates_set(*files, relevant_from=2)
    assert pooled.pools == {"q1": ["d1", "d2", "d3"], "q2": ["d4", "d3"], "q9": []}
    assert pooled.relevant_from == 2
    assert set(pooled.queries) == {"q1", "q2", "q9"}  # the judged ones; q3 is not


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query_id": "q1", "query": "a"}, "list of candidates"),
        ({"query_id": "q1", "query": "a", "candidates": [{"doc_id": "d1"}]}, "doc_id and a text"),
        (
            {"query_id": "q1", "query": "a", "candidates": [{"doc_id": "d1", "text": "x"}] * 2},
            "twice in one pool",
        ),
        ({"query_id": "q5", "query": "a", "candidates": []}, "judges none"),
    ],
)
def test_bad_candidates_are_refused(tmp_path, row, message):
    _, qrels = write_candidates(tmp_path)
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=message):
        candidates_set(path, qrels)


@pytest.mark.parametrize("text", ["q1 0 d1\n", "q1 0 d1 high\n", "q1 0 d1 0\n"])
def test_bad_qrels_are_refused(tmp_path, text):
    path = tmp_path / "x.qrels"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.qrels"):
        trec_qrels(path)


def test_nothing_in_an_mteb_pool_tells_positives_from_negatives(tmp_path):
    texts = [f"passage number {number}" for number in range(8)]
    one, other = ({"query": "q", "positive": texts[:3], "negative": texts[3:]} for _ in range(2))
    other["positive"], other["negative"] = texts[5:], texts[:5]
    pools = []
    for number, row in enumerate((one, other)):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        found = mteb_set(path)
        pools.append(found.pools["row-1"])
        assert sum(found.qrels["row-1"].values()) == 3
    assert pools[0] == pools[1]


@pytest.mark.parametrize(
    "row",
    [{"query": ["a"], "positive": ["x"], "negative": []}, {"query": "a", "positive": [], "negative": []}],
)
def test_bad_mteb_rows_are_refused(tmp_path, row):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"m\.jsonl, line 1"):
        mteb_set(path)
