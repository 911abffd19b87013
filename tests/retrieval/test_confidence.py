"""Weights from how far each side's best hit stands out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import InputError
from indexing.identity import point_id
from indexing.records import Hit
from retrieval.confidence import confidence, confidence_weights


def side(*scores: float) -> list[Hit]:
    ranked = sorted(scores, reverse=True)
    return [Hit(str(place), score, place, {}) for place, score in enumerate(ranked, start=1)]


SURE, UNSURE = side(9, 1, 1, 1, 1, 1), side(9, 8, 7, 6, 5, 4)
lists = st.lists(st.floats(-100, 100), max_size=60).map(lambda scores: side(*scores))


def test_a_best_hit_far_ahead_is_more_sure_than_one_of_many() -> None:
    sure, unsure = confidence(SURE), confidence(UNSURE)
    assert sure is not None
    assert unsure is not None
    assert sure == pytest.approx(math.sqrt(5))
    assert unsure == pytest.approx(2.5 / math.sqrt(35 / 12))


@pytest.mark.parametrize("scores", [(), (1.0,), (2.0, 1.0), (3.0, 3.0, 3.0)])
def test_nothing_is_said_of_a_list_too_short_or_flat(scores: tuple[float, ...]) -> None:
    assert confidence(side(*scores)) is None


def test_scale_and_shift_of_the_scores_do_not_matter() -> None:
    first = confidence(side(0.9, 0.4, 0.35, 0.3))
    assert first == pytest.approx(confidence(side(*(-7 + 40 * score for score in (0.9, 0.4, 0.35, 0.3)))))


def test_a_deeper_list_is_judged_by_its_beginning() -> None:
    scores = [1 / rank for rank in range(1, 201)]
    assert confidence(side(*scores)) == confidence(side(*scores[:50]))


def test_the_sentences_of_one_document_count_once() -> None:
    first = [Hit(point_id("t", "answer", "v", place), 9.0 - place / 10, place) for place in range(1, 6)]
    rest = [Hit(point_id("t", f"other {place}", "v", 0), 1.0, place) for place in range(6, 11)]
    assert confidence([*first, *rest]) == pytest.approx(math.sqrt(5))


def test_the_surer_side_keeps_its_weight_and_the_other_loses() -> None:
    dense, sparse = confidence_weights([UNSURE, SURE], [1.0, 0.8], 2.0)
    assert sparse == 0.8
    assert dense == pytest.approx((2.5 / math.sqrt(35 / 12)) ** 2 / 5)


def test_a_factor_raises_what_a_confidence_counts() -> None:
    assert confidence_weights([SURE, SURE], [1.0, 1.0], 2.0, factors=(2.0, 1.0)) == [1.0, 0.25]
    lifted = confidence_weights([UNSURE, SURE], [1.0, 1.0], 2.0, factors=(1.1, 1.0))
    assert lifted[0] > confidence_weights([UNSURE, SURE], [1.0, 1.0], 2.0)[0]


@pytest.mark.parametrize(
    ("sides", "weights"),
    [
        ([SURE, []], [1.0, 1.0]),  # one side found nothing
        ([SURE, side(2, 1)], [1.0, 1.0]),  # one side cannot be judged
        ([SURE, UNSURE], [1.0, 0.0]),  # one side takes no part
        ([SURE, side(3, 3, 3)], [0.6, 1.0]),
        ([], []),
    ],
)
def test_weights_stay_where_there_is_nothing_to_compare(sides: list[list[Hit]], weights: list[float]) -> None:
    assert confidence_weights(sides, weights, 2.0) == weights


def test_power_zero_leaves_everything() -> None:
    assert confidence_weights([SURE, UNSURE], [1.0, 0.3], 0) == [1.0, 0.3]


@pytest.mark.parametrize("power", [-1.0, math.nan, math.inf])
def test_a_power_without_meaning_is_refused(power: float) -> None:
    with pytest.raises(InputError, match="from 0 up"):
        confidence_weights([SURE, UNSURE], [1.0, 1.0], power)


@given(lists, lists, st.floats(0, 1), st.floats(0, 1), st.floats(0, 10))
def test_no_weight_grows_and_the_surest_side_keeps_its_own(
    first: list[Hit], second: list[Hit], one: float, other: float, power: float
) -> None:
    before = [one, other]
    after = confidence_weights([first, second], before, power)
    assert all(0 <= new <= old for new, old in zip(after, before, strict=True))
    assert any(new == old for new, old in zip(after, before, strict=True))
    assert after[::-1] == confidence_weights([second, first], before[::-1], power)
