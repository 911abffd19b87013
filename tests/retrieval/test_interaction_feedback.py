"""The weakest-term feature and the second look at the candidates, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.exported_manifest import Feedback, Interaction, Span
from retrieval.interaction import encode_query, passage_scores, pooled_vectors, with_feedback

PLANE = Span(start=0, stop=2)
WEAKEST = Interaction(coefficients={"weakest": 2.0}, pooled=PLANE, tokens=PLANE)


def content(tokens: int) -> np.ndarray:
    """All but the first and the last token."""
    found = np.ones(tokens, dtype=bool)
    found[[0, -1]] = False
    return found


def test_weakest_is_the_worst_of_the_best_matches() -> None:
    # Two query words: along x, and along the diagonal.  The passage has y only.
    query = np.array([[9, 9], [1, 0], [1, 1], [9, 9]], dtype=np.float32)
    passage = np.array([[[5, 0], [0, 3], [5, 0]]], dtype=np.float32)
    mask = np.ones((1, 3), dtype=bool)
    encoded = encode_query(query, content(4), WEAKEST)
    got = passage_scores(encoded, passage, mask, content(3)[None], WEAKEST)
    assert got == pytest.approx([2.0 * 0.0], abs=1e-6)
    passage[0, 1] = [1, 1]
    got = passage_scores(encoded, passage, mask, content(3)[None], WEAKEST)
    assert got == pytest.approx([2.0 * np.sqrt(0.5)], abs=1e-6)


@pytest.mark.parametrize("empty", ["query", "passage"])
def test_weakest_without_words_is_zero(empty: str) -> None:
    two = np.array([[1, 0], [1, 0]], dtype=np.float32)
    three = np.array([[1, 0], [1, 0], [1, 0]], dtype=np.float32)
    query, passage = (two, three) if empty == "query" else (three, two)
    encoded = encode_query(query, content(len(query)), WEAKEST)
    got = passage_scores(
        encoded, passage[None], np.ones((1, len(passage)), dtype=bool), content(len(passage))[None], WEAKEST
    )
    assert got.tolist() == [0.0]


def test_pooled_vectors_leave_padding_out() -> None:
    output = np.array([[[1, 0], [1, 2], [50, -50]]], dtype=np.float32)
    got = pooled_vectors(output, np.array([[True, True, False]]), WEAKEST)
    assert got == pytest.approx(np.array([[1, 1]]) / np.sqrt(2), abs=1e-6)


def test_feedback_by_hand() -> None:
    # Two passages alike, one across; the weights are 1, e^-1 and e^-2.
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    scores = np.array([4, 2, 0], dtype=np.float32)
    got = with_feedback(scores, vectors, Feedback(weight=3.0, sharpness=0.5))
    first, second, third = 1.0, np.exp(-1.0), np.exp(-2.0)
    expected = [4 + 3 * second / (second + third), 2 + 3 * first / (first + third), 0.0]
    assert got == pytest.approx(expected, abs=1e-5)


def test_feedback_does_not_depend_on_the_order_of_the_candidates() -> None:
    generator = np.random.default_rng(5)
    vectors = generator.normal(size=(7, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = generator.normal(size=7).astype(np.float32)
    feedback = Feedback(weight=6.0, sharpness=2.0)
    order = generator.permutation(7)
    there = with_feedback(scores, vectors, feedback)
    assert with_feedback(scores[order], vectors[order], feedback) == pytest.approx(there[order], abs=1e-5)


def test_a_passage_alone_keeps_its_score_and_far_ahead_ones_stay_finite() -> None:
    feedback = Feedback(weight=6.0, sharpness=2.0)
    alone = np.array([3.5], dtype=np.float32)
    assert with_feedback(alone, np.ones((1, 2), dtype=np.float32), feedback).tolist() == [3.5]
    far = with_feedback(np.array([500, 0], dtype=np.float32), np.eye(2, dtype=np.float32), feedback)
    assert np.isfinite(far).all()
