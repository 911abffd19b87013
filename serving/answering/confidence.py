"""How sure retrieval is that the documents say anything about a question."""

from __future__ import annotations

import math
from collections.abc import Sequence

from retrieval.records import SearchResult


def confidence(results: Sequence[SearchResult]) -> float | None:
    """Return 0 to 1 for the best result: the reranker's logistic, else the cosine.

    None when neither stage saw it: a BM25 score has no scale that says "sure",
    so a threshold does not apply.
    """
    if not results:
        return 0.0
    best = results[0].scores
    if best.rerank is not None:
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, best.rerank))))
    if best.dense is not None:
        return max(0.0, min(1.0, best.dense))
    return None
