"""The label budget: what a pair is worth, by hand; who gets how much; what the command sends."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from distill.labelling.budget import (
    MIN_PER_QUERY,
    STRATEGIES,
    Strategy,
    disagreement,
    spend,
    uncertainty,
    values,
)
from distill.mining.rows import MinedList
from distill.records import CandidateList, Passage, Query
from indexing.errors import InputError


def mined(name: str, count: int, **signals: tuple[float, ...]) -> MinedList:
    passages = tuple(Passage(f"{name}-{i}", f"text {i} of {name}") for i in range(count))
    return MinedList(
        CandidateList(Query(name, f"about {name}"), passages), signals, tuple(range(1, count + 1))
    )


def random_list(name: str, count: int, seed: int) -> MinedList:
    chance = np.random.default_rng(seed)
    return mined(
        name, count, **{key: tuple(chance.random(count)) for key in ("score", "dense", "sparse", "student")}
    )


def size(lists: list[MinedList]) -> int:
    return sum(len(one.candidates.passages) for one in lists)


def test_disagreement_by_hand() -> None:
    found = disagreement([np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, math.nan])])
    # Ranks 1 2 3 and 2 1 unseen: votes 1, .6309, .5 and .6309, 1, 0; half their distance.
    second = 1 / math.log2(3)
    assert found == pytest.approx([(1 - second) / 2, (1 - second) / 2, 0.25])


def test_rankers_that_agree_do_not_disagree_and_the_top_counts_most() -> None:
    scores = np.arange(50, 0, -1, dtype=float)
    assert disagreement([scores, scores * 3 + 7]).tolist() == [0.0] * 50
    other = scores.copy()
    other[[0, 1]] = other[[1, 0]]
    other[[40, 41]] = other[[41, 40]]
    found = disagreement([scores, other])
    assert found[0] == found[1] > 10 * found[40] == 10 * found[41] > 0


def test_uncertainty_is_largest_at_the_tenth_place() -> None:
    found = uncertainty(np.linspace(5, -5, 40))
    assert set(np.argsort(-found)[:2]) == {9, 10}
    assert found[9] == pytest.approx(found[10])
    assert all(np.diff(found[:10]) > 0)
    assert all(np.diff(found[10:]) < 0)
    assert found.max() <= 1


@pytest.mark.parametrize("scores", [[1.0], [2.0, 2.0, 2.0], [1.0, math.nan, 3.0]])
def test_degenerate_scores_have_a_value(scores: list[float]) -> None:
    assert np.isfinite(uncertainty(np.array(scores))).all()
    assert np.isfinite(disagreement([np.array(scores), np.array(scores)])).all()
    for strategy in STRATEGIES:
        assert np.isfinite(values(mined("q", len(scores), score=tuple(scores)), strategy)).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_budget_is_kept_and_the_choice_repeats(strategy: Strategy) -> None:
    lists = [random_list(f"q{i}", 10 + i, i) for i in range(12)]
    for budget in (1, 7, 48, 100, 10_000):
        chosen = spend(lists, budget, strategy, seed=5)
        assert size(chosen) == min(budget, size(lists))
        assert chosen == spend(lists, budget, strategy, seed=5)
        for one in chosen:
            whole = next(two for two in lists if two.candidates.query == one.candidates.query)
            places = [whole.candidates.passages.index(passage) for passage in one.candidates.passages]
            assert places == sorted(places)


def test_queries_share_evenly_and_short_ones_give_back() -> None:
    lists = [random_list("short", 2, 0), *(random_list(f"q{i}", 30, i) for i in range(3))]
    sizes = [len(one.candidates.passages) for one in spend(lists, 32, "both")]
    assert sizes == [2, 10, 10, 10]
    few = spend([random_list(f"q{i}", 30, i) for i in range(50)], 40, "random")
    assert [len(one.candidates.passages) for one in few] == [MIN_PER_QUERY] * 10


def test_each_strategy_takes_what_it_says() -> None:
    count = 40
    ordered = tuple(float(count - i) for i in range(count))
    quarrel = list(ordered)
    quarrel[0], quarrel[30] = quarrel[30], quarrel[0]
    one = mined("q", count, score=ordered, dense=ordered, sparse=tuple(quarrel), student=ordered)

    def places(strategy: Strategy, budget: int) -> set[int]:
        (found,) = spend([one], budget, strategy)
        return {rank - 1 for rank in found.ranks}

    assert places("top", 5) == {0, 1, 2, 3, 4}
    assert places("disagreement", 2) == {0, 30}
    assert places("uncertainty", 4) == {8, 9, 10, 11}
    assert places("random", 5) not in (places("top", 5), places("uncertainty", 5))
    assert {0, 30} <= places("both", 6)


def test_the_student_is_asked_before_the_fused_score() -> None:
    up, down = tuple(map(float, range(9))), tuple(map(float, range(8, -1, -1)))
    assert list(np.argsort(-values(mined("q", 9, score=up, student=down), "top"))) == list(range(9))
    assert list(np.argsort(-values(mined("q", 9, score=up), "top"))) == list(range(8, -1, -1))


def test_candidates_without_scores_need_the_random_strategy() -> None:
    one = mined("q", 9)
    assert size(spend([one], 4, "random")) == 4
    with pytest.raises(InputError, match="distill mine"):
        spend([one], 4, "both")


def test_the_command_labels_within_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from distill.cli import main
    from distill.layouts import read_labels

    lists = [random_list(f"q{i}", 10, i) for i in range(6)]
    graded = [
        {"query_id": one.candidates.query.query_id, "query": one.candidates.query.text,
         "doc_id": passage.doc_id, "text": passage.text, "teacher_grades": {"judge": float(place % 4)}}
        for one in lists for place, passage in enumerate(one.candidates.passages)
    ]  # fmt: skip
    (tmp_path / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in graded))
    (tmp_path / "candidates.jsonl").write_text("".join(one.as_json() + "\n" for one in lists))
    (tmp_path / "held.jsonl").write_text(json.dumps({"query_id": "x", "query": "About Q0!"}) + "\n")
    config = tmp_path / "label.toml"
    config.write_text(
        f'[teacher]\nkind = "precomputed"\nlayout = "graded"\nmodel = "judge"\n'
        f'files = ["{tmp_path / "graded.jsonl"}"]\n[labelling]\nbatch = 3\n'
    )
    arguments = ["label", "--candidates", str(tmp_path / "candidates.jsonl"), "--config", str(config)]
    arguments += ["--store", str(tmp_path / "labels.db"), "--output", str(tmp_path / "labels.jsonl")]
    arguments += ["--held-out", str(tmp_path / "held.jsonl")]
    assert main([*arguments, "--budget", "20"]) == 0
    shown = capsys.readouterr()
    assert "labelled now    20 in" in shown.out
    assert "1 of 6 queries are held out" in shown.err
    found = read_labels(tmp_path / "labels.jsonl", "labels")
    assert [(one.query.query_id, len(one.scores)) for one in found] == [(f"q{i}", 4) for i in range(1, 6)]
    assert json.loads((tmp_path / "labels.teacher.json").read_text())["golden"] == "skipped"
    assert main(arguments) == 0
    assert "known before    20" in capsys.readouterr().out
    assert size(lists) - 10 == sum(
        len(one.scores) for one in read_labels(tmp_path / "labels.jsonl", "labels")
    )
    config.write_text("[teachers]\n")
    assert main(arguments) == 2
    assert "teachers" in capsys.readouterr().err
