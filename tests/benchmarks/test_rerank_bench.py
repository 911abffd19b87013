"""The speed benchmark of rerankers: its arithmetic, its data, and a tiny run of all sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rerank.__main__ import main
from benchmarks.rerank.frontier import frontier
from benchmarks.rerank.measuring import agreement, ndcg, ratio, run_rounds
from benchmarks.rerank.workload import BUNDLED, Pool, bulk_lists, read_pools
from indexing.errors import InputError
from tests.fakes.cross_encoder import build_cross_encoder


def pool(number: int, grades: dict[str, int] | None = None) -> Pool:
    return Pool(f"q{number}", f"query {number}", {"a": "one", "b": "two", "c": "three"}, grades)


def test_a_ratio_is_taken_within_rounds():
    # The machine is three times slower in the last two rounds; the ratio is 2 in each.
    median, low, high = ratio([2, 2, 6, 6], [1, 1, 3, 3], seed=1)
    assert (median, low, high) == (2, 2, 2)
    median, low, high = ratio([1, 2, 3, 4, 5], [1, 1, 1, 1, 1], seed=1)
    assert median == 3
    assert 1 <= low < 3 < high <= 5


def test_sides_take_turns_and_each_begins_once():
    seen: list[tuple[str, int]] = []
    sides = {
        name: lambda lists, name=name: seen.append((name, len(lists))) or [np.zeros(1)]
        for name in ("one", "two")
    }
    timings = run_rounds(sides, [[("q", ["t"])], [("q", ["t"]), ("r", ["t"])]], rounds=1)
    assert seen == [("one", 1), ("two", 1), ("two", 2), ("one", 2)]
    assert [len(timing.wall_s) for timing in timings.values()] == [2, 2]


def test_ndcg_counts_judged_pools_only():
    pools = [pool(1, {"a": 1, "b": 0, "c": 0}), pool(2), pool(3, {"a": 0, "b": 0, "c": 0})]
    right, wrong = np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])
    assert ndcg(pools, [right, wrong, wrong]) == pytest.approx(1)
    assert ndcg(pools, [wrong, right, right]) == pytest.approx(0.5)
    assert ndcg([pool(2)], [right]) is None


def test_agreement_sees_another_best_text():
    reference = [np.array([1.0, 2.0]), np.array([4.0, 3.0])]
    assert agreement(reference, reference) == {"correlation": pytest.approx(1), "same_first": 1}
    assert agreement([np.array([1.0, 2.0]), np.array([3.0, 4.0])], reference)["same_first"] == 0.5


def test_bulk_repeats_pools_until_there_are_enough_pairs():
    lists = bulk_lists([pool(1), pool(2)], 8)
    assert [(query, len(texts)) for query, texts in lists] == [("query 1", 3), ("query 2", 3), ("query 1", 2)]


def test_a_frontier_keeps_what_nothing_beats():
    rows = [
        {"side": name, "p50_ms": ms, "ndcg@10": quality}
        for name, ms, quality in (("large", 9, 0.8), ("mid", 5, 0.8), ("bad", 6, 0.7), ("small", 1, 0.6))
    ]
    assert [row["side"] for row in frontier(rows)] == ["small", "mid"]
    with pytest.raises(TypeError, match="judged"):
        frontier([{"side": "x", "p50_ms": 1, "ndcg@10": None}])


def test_pools_of_the_bundled_set_are_filled_up_and_the_same_each_time():
    pools, checksum = read_pools(BUNDLED, candidates=20, seed=3)
    assert {len(one.texts) for one in pools} == {20}
    assert (pools, checksum) == read_pools(BUNDLED, candidates=20, seed=3)
    assert all(one.grades is not None and any(one.grades.values()) for one in pools)


def test_pools_of_files(tmp_path: Path):
    candidates = tmp_path / "candidates.jsonl"
    row = {
        "query_id": "1",
        "query": "q",
        "candidates": [{"doc_id": str(n), "text": f"t{n}"} for n in range(5)],
    }
    candidates.write_text(json.dumps(row) + "\n")
    (found,), _ = read_pools(candidates, candidates=3, seed=1)
    assert (list(found.texts), found.grades) == (["0", "1", "2"], None)
    graded = tmp_path / "graded.jsonl"
    rows = [
        {"query_id": "1", "query": "q", "doc_id": "a", "text": "t", "teacher_grades": {"x": 2.0}},
        {
            "query_id": "1",
            "query": "q",
            "doc_id": "b",
            "text": "u",
            "teacher_grades": {"x": 2.0},
            "human_grade": 0,
        },
    ]
    graded.write_text("".join(json.dumps(one) + "\n" for one in rows))
    (found,), _ = read_pools(graded, candidates=3, seed=1)
    assert found.grades == {"a": 2, "b": 0}
    candidates.write_text("")
    with pytest.raises(InputError):
        read_pools(candidates, candidates=3, seed=1)


def test_all_sides_score_alike_on_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = build_cross_encoder(tmp_path / "model")
    # Short texts: what is cut off differs between the libraries.
    texts = ["cash", "net cash in 2019", "The board met.", "tax assets", "profit was small", "现金"]
    candidates = [{"doc_id": str(number), "text": text} for number, text in enumerate(texts)]
    rows = [{"query_id": query, "query": query, "candidates": candidates} for query in ("cash paid", "board")]
    data = tmp_path / "candidates.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "figures.json"
    options = ["--model", str(model), "--data", str(data), "--bulk", "20", "--rounds", "1"]
    assert main([*options, "--threads", "1", "--max-tokens", "64", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    quality = {row["side"]: row["correlation"] for row in figures["quality"]}
    assert {"FlagReranker.compute_score", "CrossEncoder.predict", "winnow openvino fp32"} <= set(quality)
    assert all(value > 0.999 for side, value in quality.items() if "int8" not in side and "bf16" not in side)
    flag = next(row for row in figures["bulk"] if row["side"] == "FlagReranker.compute_score")
    assert flag["times_base"] == 1
    assert figures["about"]["threads"] == 1
    assert "| side | pairs_per_s |" in capsys.readouterr().out


def test_a_frontier_needs_two_models(capsys: pytest.CaptureFixture[str]):
    assert main(["--frontier", "plot.png"]) == 2
    assert "--small" in capsys.readouterr().err
