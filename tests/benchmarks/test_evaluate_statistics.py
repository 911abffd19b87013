"""Intervals, tests and corrections, against arithmetic by hand and against their promised rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.evaluate.compare import compare, holm, paired_interval
from benchmarks.evaluate.measure import MEASURES
from retrieval.metrics import Report, evaluate
from retrieval.significance import randomisation_test

SEED = 11


def test_holm_by_hand():
    # sorted .01 .03 .04 -> times 3, 2, 1 -> .03 .06 .04, and never below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2, 0.9, 0.5]) == pytest.approx([0.6, 1.0, 1.0])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_agrees_with_its_step_down_rule():
    draw = np.random.default_rng(SEED)
    for _ in range(200):
        p_values = draw.uniform(0, 0.1, draw.integers(1, 8)).tolist()
        rejected = set()
        for place, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
            if p_values[row] > 0.05 / (len(p_values) - place):
                break
            rejected.add(row)
        assert {row for row, p in enumerate(holm(p_values)) if p <= 0.05} == rejected


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(SEED)
    rounds, covered = 120, 0
    for _ in range(rounds):
        # Differences of NDCG are skewed and mostly small; the true mean is .08 - .05.
        sample = draw.exponential(0.08, 60) - 0.05
        low, high = paired_interval(sample.tolist(), seed=1)
        covered += low <= 0.03 <= high
    # BCa at 60 skewed values covers about 94 %; an interval half as wide would cover 67 %.
    least, most = binom.interval(0.999, rounds, 0.94)
    assert least <= covered <= most, f"seed {SEED}"


def test_the_interval_of_equal_differences_is_a_point():
    assert paired_interval([0.25] * 9, seed=1) == (0.25, 0.25)
    assert paired_interval([0.0, 0.0], seed=1) == (0.0, 0.0)
    assert paired_interval([0.5], seed=1) == (0.5, 0.5)


def test_two_runs_of_the_same_quality_differ_about_one_time_in_twenty():
    """A/A: both sides order the same pools at random, over queries drawn with replacement."""
    draw = np.random.default_rng(SEED)
    base = [draw.choice((0, 0, 0, 1, 2, 3), 12).tolist() for _ in range(60)]
    rounds, false_alarms = 200, 0
    for _ in range(rounds):
        drawn = [base[row] for row in draw.integers(0, len(base), 40)]
        qrels = {f"q{i}": {f"d{j}": int(g) for j, g in enumerate(row)} for i, row in enumerate(drawn)}
        one, other = (
            evaluate(
                {q: {d: draw.random() for d in grades} for q, grades in qrels.items()}, qrels, ["NDCG@10"]
            )
            for _ in range(2)
        )
        scores = [list(report.per_query["NDCG@10"].values()) for report in (one, other)]
        false_alarms += randomisation_test(*scores, seed=1) < 0.05
    least, most = binom.interval(0.999, rounds, 0.05)
    assert least <= false_alarms <= most, f"seed {SEED}"


def report(scores: dict[str, float]) -> Report:
    mean = sum(scores.values()) / len(scores)
    return Report(dict.fromkeys(MEASURES, scores), dict.fromkeys(MEASURES, mean), ())


def test_a_change_counts_what_it_says():
    before = report({"a": 0.5, "b": 0.5, "c": 0.0, "d": 1.0})
    after = report({"a": 0.75, "b": 0.5, "c": 0.25, "d": 0.75})
    change = compare(before, after, MEASURES, seed=1)[0]
    assert (change.wins, change.ties, change.losses) == (2, 1, 1)
    assert change.difference == pytest.approx(0.0625)
    assert change.relative == pytest.approx(0.125)
    assert change.low <= 0.0625 <= change.high
    # Of the 8 sign patterns of three equal differences, all have a mean at least as far from 0.
    assert change.p == 1
    assert (
        compare(report({"a": 0.0, "b": 0.0}), report({"a": 0.0, "b": 1.0}), MEASURES, 1)[0].relative is None
    )


def test_a_clear_gain_is_significant_after_correction():
    before = report({f"q{i}": 0.4 for i in range(30)})
    after = report({f"q{i}": 0.5 + i / 1000 for i in range(30)})
    for change in compare(before, after, MEASURES, seed=1):
        assert change.p < 0.001
        assert change.p_holm == pytest.approx(3 * change.p)
        assert change.low > 0


def test_reports_of_different_queries_are_not_compared():
    with pytest.raises(ValueError, match="different queries"):
        compare(report({"a": 1.0}), report({"b": 1.0}), MEASURES, seed=1)
