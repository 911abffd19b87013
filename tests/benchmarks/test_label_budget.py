"""The budget benchmark on a pool made here: labels teach, and the comparison is a paired one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.label_budget import Pool, bought_lists, dev_scores, measure, starting, summary, train
from distill.mining.rows import MinedList
from distill.records import CandidateList, Passage, Query

SEED = 20261123


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    """Grades follow the second of six features; the last four are what the rankers see: noise."""
    sys.stdout.write(f"seed {SEED}\n")
    chance = np.random.default_rng(SEED)
    made = []
    for number in range(9):
        features = chance.standard_normal((30, 6))
        grades = np.clip(np.round(features[:, 1] + 1), 0, 3)
        doc_ids = tuple(f"q{number}-{i}" for i in range(30))
        passages = tuple(Passage(doc_id, doc_id) for doc_id in doc_ids)
        noise = {name: tuple(chance.random(30)) for name in ("score", "dense", "sparse", "student")}
        whole = MinedList(CandidateList(Query(f"q{number}", "q"), passages), noise, tuple(range(1, 31)))
        truth = dict(zip(doc_ids, map(int, grades), strict=True))
        made.append(Pool(f"q{number}", doc_ids, features, grades, truth, whole.keep(range(5, 25))))
    return made


def test_what_is_bought_are_the_candidates_own_grades(pools: list[Pool]) -> None:
    by_id = {pool.query_id: pool for pool in pools}
    bought = bought_lists(pools, 9 * 6, "random", seed=1)
    assert [len(grades) for _, grades in bought] == [6] * 9
    for (features, grades), pool in zip(bought, by_id.values(), strict=True):
        for row, grade in zip(features, grades, strict=True):
            (place,) = np.flatnonzero((pool.features == row).all(axis=1))
            assert 5 <= place < 25
            assert pool.grades[place] == grade


def test_the_student_learns_what_the_labels_say(pools: list[Pool]) -> None:
    bought = bought_lists(pools[:6], 6 * 20, "top", seed=0)
    weights = train(bought, "nothing")
    assert np.argmax(np.abs(weights)) == 1
    learnt = np.mean(list(dev_scores(pools[6:], weights).values()))
    ignorant = np.mean(list(dev_scores(pools[6:], starting(6, "cosine")).values()))
    assert learnt > 0.95 > ignorant


def test_every_row_covers_the_same_queries_and_is_paired(pools: list[Pool]) -> None:
    rows = measure(pools, [0.3], 4, "nothing")
    assert set(rows) == {
        "bi-encoder",
        "all",
        *(f"{name}@0.3" for name in ("both", "disagreement", "uncertainty", "top", "random")),
    }
    counts = {name: {query: len(found) for query, found in row.items()} for name, row in rows.items()}
    assert all(one == counts["all"] for one in counts.values())
    table = {line["row"]: line for line in summary(rows, seed=0)}
    assert "p" not in table["random@0.3"]
    line = table["both@0.3"]
    gap = line["ndcg@10"] - table["random@0.3"]["ndcg@10"]
    assert line["against_random"] == pytest.approx(gap, abs=2e-4)
    assert 0 < line["p"] <= 1
