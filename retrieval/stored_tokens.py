"""Late interaction from token vectors in the collection: the engine compares, no passage is encoded.

What is stored belongs to sentences, what is ranked is a window of several.  The
engine gives the best cosine of every query token with every sentence of every
window; a window's best is the greatest of its sentences', and its pooled vector
the sum of theirs.  That is the model's own score of the window, but for one
thing: each sentence was encoded alone, so its tokens do not know their
neighbours.  Ranking windows by their best sentence instead would forget what
the other sentences cover.

The candidates' ids are sent, not a nested prefetch: fusion, credits and windows
are ours and decide what the candidates are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from indexing.collection.protocol import Collection, TokenMatches
from indexing.encoders.tokens import needs_pooled
from indexing.identity import point_id
from indexing.languages import coverage
from indexing.records import FloatArray
from retrieval.interaction import blended, unit_vectors, with_feedback
from retrieval.late_interaction import ExportedLateInteraction, QueryTokens
from retrieval.passages import Standing
from retrieval.reranker import Reranker, RerankScores

EncodeQuery = Callable[[str], Awaitable[QueryTokens | None]]


def query_tokens(
    reranker: Reranker | None, query: str, fingerprint: str, min_coverage: float
) -> QueryTokens | None:
    """Return the query's tokens when ``reranker`` made the stored vectors, else None; blocks.

    ``fingerprint`` is the collection's, ``min_coverage`` that of
    ``encoders.min_coverage``, which decided what was stored.
    """
    if not isinstance(reranker, ExportedLateInteraction):
        return None
    if reranker.token_fingerprint(min_coverage) != fingerprint:
        return None
    return reranker.query_tokens(query)


class StoredTokens:
    """Scores passages of one collection by the token vectors it stores.

    Args:
        collection: one that stores them.
        encode_query: runs :func:`query_tokens` with the current reranker, off the event loop.
        min_coverage: ``rerank.min_coverage``, as for every other reranker.
    """

    def __init__(self, collection: Collection, encode_query: EncodeQuery, min_coverage: float) -> None:
        self.collection = collection
        self.encode_query = encode_query
        self._min_coverage = min_coverage

    async def score(self, tenant: str, query: str, passages: Sequence[Standing]) -> RerankScores | None:
        """Return one score a passage; None when another model is the reranker now.

        A passage is unknown when the model cannot read it, or none of its
        sentences has token vectors.

        Raises:
            CollectionError: the engine does not answer.
            EncoderError: the query could not be encoded.
        """
        encoded = await self.encode_query(query)
        if encoded is None:
            return None
        if coverage(query, encoded.scripts) < self._min_coverage or not len(encoded.encoded.tokens):
            return _unread(encoded, len(passages))
        sentences = [_sentences(tenant, passage) for passage in passages]
        ids = [key for keys in sentences for key in keys]
        found = await self.collection.token_matches(encoded.encoded.tokens, ids, tenant=tenant)
        readable = [coverage(one.text, encoded.scripts) >= self._min_coverage for one in passages]
        return _scored(encoded, found, [len(keys) for keys in sentences], readable)


def _sentences(tenant: str, passage: Standing) -> list[str]:
    """Ids of the points of a passage's sentences; they follow from its place in its document."""
    here, window = passage.passage, passage.passage.window
    return [
        point_id(tenant, window.doc_id, window.version, ordinal)
        for ordinal in range(here.first, here.last + 1)
    ]


def _unread(query: QueryTokens, passages: int) -> RerankScores:
    return RerankScores(
        np.zeros(passages, dtype=np.float32),
        (query.truncated,) * passages,
        known=(False,) * passages,
        query_known=False,
        model=query.model,
        kind=query.kind,
        stored={},
    )


def _scored(
    query: QueryTokens, found: TokenMatches, lengths: Sequence[int], readable: Sequence[bool]
) -> RerankScores:
    """Put sentences together to passages, of ``lengths`` sentences each, and blend what was found."""
    ends = np.cumsum(lengths)
    best = np.zeros((len(lengths), found.best.shape[1]), dtype=np.float32)
    pooled = np.zeros((len(lengths), found.pooled.shape[1]), dtype=np.float32)
    known = list(readable)
    for place, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        rows = slice(int(end) - length, int(end))
        present = ~np.isnan(found.best[rows, 0])
        known[place] = known[place] and bool(present.any())
        if known[place]:
            best[place] = found.best[rows][present].max(axis=0)
            pooled[place] = found.pooled[rows][present].sum(axis=0)
    logits = np.zeros(len(lengths), dtype=np.float32)
    kept = np.flatnonzero(known)
    logits[kept] = _blend(query, best[kept], unit_vectors(pooled[kept]))
    return RerankScores(
        logits,
        (query.truncated,) * len(lengths),
        known=tuple(known),
        model=query.model,
        kind=query.kind,
        stored={"sentences": len(found.best), "engine_ms": round(found.engine_ms, 3)},
    )


def _blend(query: QueryTokens, best: FloatArray, pooled: FloatArray) -> FloatArray:
    interaction, encoded = query.interaction, query.encoded
    cosines = np.zeros(len(best), dtype=np.float32)
    if needs_pooled(interaction):
        cosines = pooled @ encoded.pooled
    scores = blended(encoded, best, cosines, interaction)
    if interaction.feedback is None:
        return scores
    return with_feedback(scores, pooled, interaction.feedback)
