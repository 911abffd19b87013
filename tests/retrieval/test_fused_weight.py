"""The rerank stage's score: the logit alone, or blended with the fused score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retrieval.records import SearchResponse
from retrieval.reranker import RerankScores
from tests.fakes.search_bench import Bench, stage


def test_a_fused_weight_blends_both_scores_after_standardising_them():
    def ranked(weight: float | None, kind: str = "late-interaction") -> SearchResponse:
        async def shortest(query: str, texts: Sequence[str]) -> RerankScores:
            logits = np.array([-100.0 * len(text) for text in texts], dtype=np.float32)
            return RerankScores(logits, (False,) * len(texts), kind=kind)

        return Bench(rerank=shortest, fused_weight=weight)("cash flow", window_size=0, top_n=30)

    def z(values: list[float]) -> np.ndarray:
        return (np.array(values) - np.mean(values)) / np.std(values)

    blended = ranked(0.7)
    expected = z([one.scores.rerank for one in blended.results]) + 0.7 * z(
        [one.scores.fused for one in blended.results]
    )
    assert [one.score for one in blended.results] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    assert stage(blended, "rerank").details["fused_weight"] == 0.7
    alone = [one.id for one in ranked(0.0).results]
    assert [one.id for one in blended.results] != alone
    assert [one.ranks.fused for one in ranked(99.0).results] == list(range(1, len(alone) + 1))
    assert [one.id for one in ranked(None).results] == [one.id for one in blended.results]
    assert [one.id for one in ranked(None, "cross-encoder").results] == alone
    assert "fused_weight" not in stage(ranked(None, "cross-encoder"), "rerank").details
