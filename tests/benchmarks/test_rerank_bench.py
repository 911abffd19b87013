"""The speed benchmark of rerankers: its arithmetic, its data, and a tiny run of all sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rerank.__main__ import main
from benchmarks.rerank.frontier import frontier
from benchmarks.rerank.measuring import agreement, ndcg, quality, ratio, run_rounds
from benchmarks.rerank.workload import BUNDLED, Pool, bulk_lists, read_pools
from indexing.errors import InputError
from tests.fakes.cross_encoder import build_cross_encoder
from tests.fakes.exported_models import late_interaction_folder


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


def test_a_change_of_ndcg_is_paired_and_comes_with_its_interval():
    pools = [pool(number, {"a": 1, "b": 0, "c": 0}) for number in range(8)]
    right, wrong = np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])
    same = quality(pools, [right] * 8, [right] * 8, seed=1)
    assert (same["queries"], same["ndcg@10"], same["change"]) == (8, pytest.approx(1), 0)
    assert same["change_95"] == [0, 0]
    worse = quality(pools, [wrong] * 4 + [right] * 4, [right] * 8, seed=1)
    assert worse["change"] == pytest.approx(-0.25)
    low, high = worse["change_95"]
    assert -0.5 <= low < -0.25 < high <= 0
    assert quality([pool(1)], [right], [right], seed=1)["ndcg@10"] is None


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


def candidates_file(folder: Path, queries: int = 2) -> Path:
    words = ["open file", "the weather was sunny", "cash flow", "bank of the river", "close a function"]
    rows = [
        {
            "query_id": f"q{number}",
            "query": "how do i open a file" if number % 2 else "weather all week",
            "candidates": [{"doc_id": f"d{place}", "text": text} for place, text in enumerate(words)],
        }
        for number in range(queries)
    ]
    path = folder / "candidates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_qrels_judge_a_file_of_candidates(tmp_path: Path):
    data, qrels = candidates_file(tmp_path), tmp_path / "qrels"
    qrels.write_text("q0 0 d1 2\nq0 0 elsewhere 3\nq9 0 d1 1\n")
    pools, checked = read_pools(data, candidates=5, seed=1, qrels=qrels)
    # What the first stage missed counts as well.
    assert [one.grades for one in pools] == [{"d1": 2, "elsewhere": 3}, None]
    best = [np.array([0.0, 9.0, 1.0, 1.0, 1.0])] * 2
    assert ndcg(pools, best) == pytest.approx(2 / (3 + 2 / np.log2(3)))
    qrels.write_text("q0 0 d1 1\n")
    assert read_pools(data, candidates=5, seed=1, qrels=qrels)[1] != checked
    qrels.write_text("q9 0 d1 1\n")
    with pytest.raises(InputError, match="judges none"):
        read_pools(data, candidates=5, seed=1, qrels=qrels)
    with pytest.raises(InputError, match="grades of its own"):
        read_pools(BUNDLED, candidates=5, seed=1, qrels=qrels)


def test_a_frontier_is_measured_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small = late_interaction_folder(tmp_path / "small", name="small", sign=-1)
    large = late_interaction_folder(tmp_path / "large", name="large")
    data, qrels = candidates_file(tmp_path, queries=4), tmp_path / "qrels"
    qrels.write_text("".join(f"q{n} 0 {'d0' if n % 2 else 'd1'} 1\n" for n in range(4)))
    plot, out = tmp_path / "frontier.png", tmp_path / "frontier.json"
    options = ["--frontier", str(plot), "--small", str(small), "--model", str(large), "--data", str(data)]
    assert main([*options, "--rounds", "1", "--threads", "1"]) == 2
    assert "needs judged data" in capsys.readouterr().err
    assert not plot.exists()
    options += ["--qrels", str(qrels), "--rounds", "1", "--threads", "1", "--json", str(out)]
    assert main(options) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = {row["side"]: row for row in json.loads(out.read_text())["frontier"]}
    assert rows["small"]["ndcg@10"] < rows["large"]["ndcg@10"] == pytest.approx(1)
    # Everything in doubt and all of it sent on is the large model's order.
    everything = rows["keep 5, margin inf"]
    assert (everything["ndcg@10"], everything["sent_on"], everything["early_exits"]) == (1, 1, 0)
    assert all(0 <= row["sent_on"] <= 1 for row in rows.values() if row["sent_on"] is not None)
    assert "| side | ndcg@10 | p50_ms | sent_on | early_exits |" in capsys.readouterr().out


def test_all_sides_score_alike_on_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = build_cross_encoder(tmp_path / "model", max_tokens=32)
    texts = ["cash", "net cash in 2019", "The board met.", "tax assets", "profit was small", "现金"]
    # More than the model reads, less than the benchmark allows: every side must cut it at the same place.
    texts += ["The profit of the year before. " * count for count in (5, 6, 7, 8)]
    candidates = [{"doc_id": str(number), "text": text} for number, text in enumerate(texts)]
    rows = [{"query_id": query, "query": query, "candidates": candidates} for query in ("cash paid", "board")]
    data = tmp_path / "candidates.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "figures.json"
    options = ["--model", str(model), "--data", str(data), "--bulk", "20", "--rounds", "1"]
    qrels = tmp_path / "qrels"
    qrels.write_text("board 0 1 2\n")
    options += ["--qrels", str(qrels)]
    assert main([*options, "--threads", "1", "--max-tokens", "64", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["max_tokens"] == 32
    reference = next(row for row in figures["quality"] if row["side"] == "winnow openvino fp32")
    assert reference["queries"] == 1
    assert 0 < reference["ndcg@10"] <= 1
    assert (reference["change"], reference["change_95"]) == (0, [0, 0])
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
