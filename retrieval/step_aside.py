"""A reranker keeps its hands off text that it cannot read.

A model that was trained on English gives Chinese text a number too, and the
number is noise.  So a query in an unknown writing system leaves the whole
fused order as it is, and an unknown passage keeps its place while the known
ones change places among themselves: no result in an unknown language ever
moves, up or down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from indexing.errors import EncoderError
from indexing.languages import coverage
from retrieval.reranker import Reranker, RerankScores, checked_scores

T = TypeVar("T")


def score_known(reranker: Reranker, query: str, texts: Sequence[str], min_coverage: float) -> RerankScores:
    """Return scores for the texts whose writing system the model knows; the others are not sent to it.

    ``min_coverage`` is the least share of letters (0 to 1) in the model's
    scripts, as for the dense encoder.

    Raises:
        EncoderError: the model failed, or its scores are too few, too many or not finite.
    """
    known = tuple(coverage(text, reranker.scripts) >= min_coverage for text in texts)
    readable = coverage(query, reranker.scripts) >= min_coverage
    rows = [row for row, one in enumerate(known) if one] if readable else []
    logits = np.zeros(len(texts), dtype=np.float32)
    truncated = [False] * len(texts)
    if rows:
        scored = reranker.score(query, [texts[row] for row in rows])
        # Asked again here: a backend may be anybody's, and such scores would order results by chance.
        checked_scores(reranker.name, scored.logits, scored.truncated)
        if len(scored.logits) != len(rows):
            raise EncoderError(
                f"reranker {reranker.name} gave {len(scored.logits)} logits for {len(rows)} texts"
            )
        logits[rows] = scored.logits
        for row, cut in zip(rows, scored.truncated, strict=True):
            truncated[row] = cut
    return RerankScores(
        logits,
        tuple(truncated),
        known=known if readable else (False,) * len(texts),
        query_known=readable,
        model=reranker.name,
        kind=reranker.kind,
    )


def permuted(items: Sequence[T], ranked: Sequence[int], known: Sequence[bool]) -> list[T]:
    """Return ``items`` with the known ones in the order ``ranked``, in the known ones' places.

    ``ranked`` holds the positions of the known items, best first.

    >>> permuted(["a", "未", "b", "c"], [3, 0, 2], [True, False, True, True])
    ['c', '未', 'a', 'b']
    """
    turn = iter(ranked)
    return [items[next(turn)] if one else items[place] for place, one in enumerate(known)]
