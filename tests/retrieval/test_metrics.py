from __future__ import annotations

import builtins
import math
import random

import pytest

from indexing.errors import InputError, MissingDependencyError
from retrieval.metrics import DEFAULT_MEASURES, evaluate, ranking

QRELS = {"q1": {"a": 3, "b": 1, "c": 0, "x": 2}, "q2": {"d": 1}, "q3": {"e": 2}}
RUN = {
    "q1": {"c": 9.0, "a": 5.0, "z": 4.0, "b": 3.0},
    "q2": {"y": 1.0, "d": 1.0},  # a tie: "d" comes first by id
    "not judged": {"a": 1.0},
}


def means(run=RUN, qrels=QRELS, measures=DEFAULT_MEASURES, **options):
    return evaluate(run, qrels, measures, **options).means


def test_measures_against_arithmetic_by_hand():
    report = evaluate(RUN, QRELS, ["MAP", "MRR@10", "NDCG@10", "Recall@100", "P@2", "NDCG@2", "MRR@1"])
    # q1: a at rank 2, b at rank 4, x not found; 3 relevant.
    gain = 3 / math.log2(3) + 1 / math.log2(5)
    ideal = 3 + 2 / math.log2(3) + 1 / 2
    assert {name: scores["q1"] for name, scores in report.per_query.items()} == pytest.approx(
        {
            "MAP": (1 / 2 + 2 / 4) / 3,
            "MRR@10": 1 / 2,
            "NDCG@10": gain / ideal,
            "Recall@100": 2 / 3,
            "P@2": 1 / 2,
            "NDCG@2": (3 / math.log2(3)) / (3 + 2 / math.log2(3)),
            "MRR@1": 0.0,
        }
    )
    assert {name: scores["q2"] for name, scores in report.per_query.items()} == pytest.approx(
        {"MAP": 1, "MRR@10": 1, "NDCG@10": 1, "Recall@100": 1, "P@2": 0.5, "NDCG@2": 1, "MRR@1": 1}
    )


def test_a_query_that_returned_nothing_counts_zero_in_the_mean():
    report = evaluate(RUN, QRELS, ["MRR@10"])
    assert report.per_query["MRR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert report.means["MRR@10"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert report.unanswered == ("q3",)
    assert evaluate({"q3": {}}, QRELS, ["MAP"]).unanswered == ("q1", "q2", "q3")


def test_an_empty_run_scores_zero():
    assert means(run={}) == dict.fromkeys(DEFAULT_MEASURES, 0.0)


def test_queries_that_nobody_judged_are_left_out():
    assert set(evaluate(RUN, QRELS).per_query["MAP"]) == set(QRELS)


def test_relevance_begins_where_it_is_said_to():
    # From grade 2 on, q1 has a and x: a at rank 2.
    report = evaluate(RUN, QRELS, ["MAP", "MRR@10", "Recall@100", "P@4", "NDCG@10"], relevant_from=2)
    assert report.per_query["MAP"]["q1"] == pytest.approx((1 / 2) / 2)
    assert report.per_query["Recall@100"]["q1"] == pytest.approx(1 / 2)
    assert report.per_query["P@4"]["q1"] == pytest.approx(1 / 4)
    assert report.per_query["MRR@10"]["q2"] == 0.0
    assert report.per_query["NDCG@10"] == evaluate(RUN, QRELS, ["NDCG@10"]).per_query["NDCG@10"]


@pytest.mark.parametrize(("relevant", "expected"), [("a", 1.0), ("b", 1 / 2), ("c", 1 / 3)])
def test_ties_are_ordered_by_id(relevant, expected):
    run = {"q": {"c": 0.5, "a": 0.5, "b": 0.5}}
    assert means(run=run, qrels={"q": {relevant: 1}}, measures=["MRR@10", "MAP"]) == pytest.approx(
        {"MRR@10": expected, "MAP": expected}
    )


def test_scores_that_only_differ_in_double_precision_are_kept_apart():
    run = {"q": {"a": 1.0, "b": 1.0 + 1e-12}}
    assert means(run=run, qrels={"q": {"b": 1}}, measures=["MRR@10"]) == {"MRR@10": 1.0}


def test_ranking():
    assert ranking({"b": 1.0, "a": 1.0, "c": 2.0}) == ["c", "a", "b"]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_plain_implementation_on_random_runs(seed):
    source = random.Random(seed)
    docs = [f"d{n}" for n in range(30)]
    qrels = {f"q{n}": {d: source.randint(0, 3) for d in source.sample(docs, 8)} for n in range(6)}
    run = {
        f"q{n}": {d: source.randint(0, 9) / 2 for d in source.sample(docs, source.randint(0, 25))}
        for n in range(6)
    }
    report = evaluate(run, qrels, ["MAP", "MRR@10", "NDCG@10", "Recall@10"])
    for query_id, grades in qrels.items():
        order = sorted(run[query_id], key=lambda d: (-run[query_id][d], d))
        relevant = {d for d, grade in grades.items() if grade >= 1}
        ranks = [rank for rank, d in enumerate(order, 1) if d in relevant]
        gain = sum(grades.get(d, 0) / math.log2(rank + 1) for rank, d in enumerate(order[:10], 1))
        best = sorted(grades.values(), reverse=True)[:10]
        ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))
        expected = {
            "MAP": sum(n / rank for n, rank in enumerate(ranks, 1)) / len(relevant) if relevant else 0.0,
            "MRR@10": 1 / ranks[0] if ranks and ranks[0] <= 10 else 0.0,
            "NDCG@10": gain / ideal if ideal else 0.0,
            "Recall@10": sum(rank <= 10 for rank in ranks) / len(relevant) if relevant else 0.0,
        }
        assert {name: report.per_query[name][query_id] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", ["", "map", "Recall", "P", "NDCG@0", "NDCG@-1", "F1@3", "MAP@x"])
def test_unknown_measures_are_refused_with_what_is_accepted(name):
    with pytest.raises(InputError, match="accepted: MAP, MRR, NDCG"):
        evaluate(RUN, QRELS, [name])


def test_refusals():
    with pytest.raises(InputError, match="no judged queries"):
        evaluate(RUN, {})
    with pytest.raises(InputError, match="finite"):
        evaluate({"q1": {"a": math.nan}}, QRELS)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "ir_measures":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"winnow-search\[bench\]"):
        evaluate(RUN, QRELS)
