"""Two rankings compared: by hand, and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from retrieval.ranking_similarity import kendall, overlap, rank_biased_overlap

rankings = st.lists(st.sampled_from("abcdefghijkl"), max_size=10, unique=True)


def test_overlap_by_hand() -> None:
    assert overlap(["a", "b", "c", "d"], ["d", "x", "a"], 4) == 0.5
    assert overlap(["a", "b"], ["b", "a"], 1) == 0.0
    assert overlap([], ["a"], 5) == 1.0  # nothing to find, nothing missed
    assert overlap(["a"], [], 5) == 0.0


def test_rank_biased_overlap_by_hand() -> None:
    # Depth 1: 0 of 1; depth 2: 2 of 2. p^2 * 2/2 + (1-p)/p * (p^2 * 2/2) at p = .5.
    assert rank_biased_overlap(["a", "b"], ["b", "a"], 0.5) == pytest.approx(0.25 + 0.25)
    assert rank_biased_overlap(["a"], []) == 0.0
    assert rank_biased_overlap([], []) == 1.0


@given(rankings, rankings)
def test_kendall_is_that_of_scipy(one: list[str], other: list[str]) -> None:
    shared = [id for id in one if id in other]
    found = kendall(one, other)
    if len(shared) < 2:
        assert found is None
    else:
        want = kendalltau([one.index(id) for id in shared], [other.index(id) for id in shared]).statistic
        assert found == pytest.approx(want)


@given(rankings, rankings)
def test_symmetric_bounded_and_one_for_equals(one: list[str], other: list[str]) -> None:
    found = rank_biased_overlap(one, other)
    assert 0 <= found <= 1 + 1e-12
    assert found == pytest.approx(rank_biased_overlap(other, one))
    assert rank_biased_overlap(one, one) == pytest.approx(1.0)


def test_the_top_weighs_more() -> None:
    wanted = list("abcdef")
    assert rank_biased_overlap(wanted, list("abcdxy")) > rank_biased_overlap(wanted, list("xycdef"))
