"""Two rerankers in a row: who decides about what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.settings import CascadeSettings, RerankSettings
from retrieval.cascade import CascadeReranker, doubtful_runs, merged
from retrieval.rerank import load_folder
from retrieval.reranker import RerankScores, order
from tests.fakes.exported_models import late_interaction_folder

INF = float("inf")


class Table:
    """A reranker that looks its logits up, and remembers what it was asked."""

    kind = "cross-encoder"

    def __init__(self, name: str, logits: dict[str, float], scripts: frozenset[str] | None = None) -> None:
        self.name = name
        self.scripts = scripts
        self._logits = logits
        self.asked: list[str] = []

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        self.asked.extend(texts)
        logits = np.array([self._logits[text] for text in texts], dtype=np.float32)
        return RerankScores(logits, tuple(self.name == "large" for _ in texts))


def cascade(small: Sequence[float], large: Sequence[float], *, keep: int, margin: float):
    texts = [f"text {chr(97 + row)}" for row in range(len(small))]
    first = Table("small", dict(zip(texts, small, strict=True)), frozenset({"Latin"}))
    second = Table("large", dict(zip(texts, large, strict=True)))
    pair = CascadeReranker(first, second, CascadeSettings(keep=keep, margin=margin))
    return pair, first, second, texts


# Few distinct values, so that ties are common.
logits = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12)


@given(logits)
def test_margin_0_is_the_small_model_alone(pairs):
    small, large = ([float(one[side]) for one in pairs] for side in (0, 1))
    pair, _, second, texts = cascade(small, large, keep=len(pairs) + 2, margin=0)
    got = pair.score("query", texts).logits
    assert order(texts, got) == order(texts, np.array(small, dtype=np.float32))
    assert second.asked == []
    assert pair.early_exits == 1


@given(logits)
def test_an_infinite_margin_is_the_large_model_alone(pairs):
    small, large = ([float(one[side]) for one in pairs] for side in (0, 1))
    pair, _, _, texts = cascade(small, large, keep=len(pairs) + 2, margin=INF)
    got = pair.score("query", texts).logits
    want = np.array(large if len(pairs) > 1 else small, dtype=np.float32)
    assert order(texts, got) == order(texts, want)


@given(logits, st.integers(2, 6), st.sampled_from([0.5, 1.0, 1.5, 2.5, INF]))
def test_what_is_sure_keeps_its_place(pairs, keep, margin):
    small, large = ([float(one[side]) for one in pairs] for side in (0, 1))
    pair, _, second, texts = cascade(small, large, keep=keep, margin=margin)
    before = sorted(range(len(texts)), key=lambda row: (-small[row], row))
    after = order(texts, pair.score("query", texts).logits)
    assert set(second.asked) <= {texts[row] for row in before[:keep]}
    assert sorted(after[:keep]) == sorted(before[:keep])
    asked = [row for row in before if texts[row] in second.asked]
    for place, row in enumerate(before[:keep]):
        if row not in asked:
            assert after[place] == row
    for left, right in pairwise(after):
        if left in asked and right in asked and abs(small[left] - small[right]) < margin:
            assert large[left] >= large[right]


def test_runs_end_at_a_gap_and_at_keep():
    values = np.array([9.0, 8.9, 5.0, 4.8, 4.6, 1.0])
    assert doubtful_runs(values, keep=6, margin=0.5) == [[0, 1], [2, 3, 4]]
    assert doubtful_runs(values, keep=4, margin=0.5) == [[0, 1], [2, 3]]
    assert doubtful_runs(values, keep=3, margin=0.5) == [[0, 1]]
    assert doubtful_runs(values, keep=6, margin=4) == [[0, 1, 2, 3, 4, 5]]


def test_a_reordered_text_does_not_fall_behind_an_equal_one_past_keep():
    small = np.array([2.0, 2.0, 2.0], dtype=np.float32)
    got = merged(small, [[0, 1]], {0: -5.0, 1: 7.0})
    assert order(["b", "c", "a"], got) == [1, 0, 2]


def test_truncation_is_reported_by_the_model_that_decided():
    pair, _, second, texts = cascade([3.0, 2.9, 0.0], [0.0, 1.0, 2.0], keep=3, margin=0.5)
    scores = pair.score("query", texts)
    assert second.asked == texts[:2]
    assert scores.truncated == (True, True, False)
    assert order(texts, scores.logits) == [1, 0, 2]


def test_a_query_that_the_small_model_cannot_read_goes_to_the_large_one():
    pair, first, second, texts = cascade([1.0, 2.0], [5.0, 4.0], keep=2, margin=0)
    assert pair.score("多少现金", texts).logits.tolist() == [5.0, 4.0]
    assert first.asked == []
    assert second.asked == texts
    assert pair.scripts is None


def test_no_texts_give_no_scores():
    pair, *_ = cascade([1.0], [1.0], keep=2, margin=INF)
    assert pair.score("query", []).logits.shape == (0,)


def test_the_setting_puts_a_folder_in_front(tmp_path: Path):
    small = late_interaction_folder(tmp_path / "small", seed=1)
    large = late_interaction_folder(tmp_path / "large", seed=2)
    alone = load_folder(large, RerankSettings())
    texts = ["open a file", "the weather was sunny", "close you file", "a function"]
    for margin, want in ((0.0, small), (INF, large)):
        chosen = RerankSettings(cascade=CascadeSettings(model=small, keep=4, margin=margin))
        pair = load_folder(large, chosen)
        assert isinstance(pair, CascadeReranker)
        assert alone.name in pair.name
        got = pair.score("how do i open a file", texts).logits
        expected = load_folder(want, RerankSettings()).score("how do i open a file", texts).logits
        assert order(texts, got) == order(texts, expected)


@pytest.mark.parametrize("keep", [0, 1])
def test_a_cascade_that_could_decide_nothing_is_refused(keep):
    with pytest.raises(ValueError, match="keep"):
        CascadeSettings(keep=keep)
