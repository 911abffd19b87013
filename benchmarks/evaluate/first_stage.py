"""The first stage in memory: BM25, dense or both, as the service ranks, without an index on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from indexing.encoders import EncoderPair, load_encoders
from indexing.records import Embedding, FloatArray, Hit
from indexing.settings import Settings
from retrieval.confidence import FACTORS, confidence_weights
from retrieval.credits import literal_credits
from retrieval.fusion import fuse, side_weights

Stage = Literal["bm25", "dense", "hybrid"]

_BATCH = 256


class MemoryIndex:
    """Every passage scored exactly, by the encoders and the fusion that the settings name.

    The service ranks sentences and cuts windows around them; here a passage is
    one point, because its judgement is of the whole passage.
    """

    def __init__(self, texts: Mapping[str, str], settings: Settings, stage: Stage) -> None:
        self._ids = sorted(texts)
        self._texts = texts
        self._settings = settings
        self._stage = stage
        passages = [texts[doc_id] for doc_id in self._ids]
        self._pair = _weighed(load_encoders(settings.encoders), passages)
        self._embedded = self._embed(passages)
        self._postings = _postings(self._embedded)
        idf = self._pair.sparse_idf
        total = len(passages)
        self._idf = {
            index: math.log((total - len(rows) + 0.5) / (len(rows) + 0.5) + 1) if idf else 1.0
            for index, (rows, _) in self._postings.items()
        }
        self._dense_rows = [row for row, one in enumerate(self._embedded) if one.dense is not None]
        self._dense = _stacked([self._embedded[row].dense for row in self._dense_rows])

    def search(self, query: str, top_k: int) -> list[str]:
        """Return at most ``top_k`` doc_ids, best first, equal scores by doc_id."""
        embedding = self._pair.embed_queries([query])[0]
        coverage = self._pair.coverage(query) if embedding.dense is not None else 0.0
        sparse = [] if self._stage == "dense" else self._sparse_hits(embedding, top_k)
        dense = [] if self._stage == "bm25" or not coverage else self._dense_hits(embedding, top_k)
        if self._stage != "hybrid":
            return [hit.id for hit in (sparse or dense)]
        chosen = self._settings.retrieval
        weights: Sequence[float] = side_weights(coverage, chosen.dense_weight)
        if chosen.fusion == "weighted":
            power = chosen.confidence_power * coverage
            weights = confidence_weights([dense, sparse], weights, power, factors=FACTORS, document_of=str)
        fused = fuse(
            chosen.fusion,
            [dense, sparse],
            weights,
            rrf_k=chosen.rrf_k,
            floors=[None, 0.0],
            credits=self._credits(query, sparse) if weights[0] else {},
        )
        return [one.id for one in fused[:top_k]]

    def _embed(self, passages: Sequence[str]) -> list[Embedding]:
        found: list[Embedding] = []
        for start in range(0, len(passages), _BATCH):
            part = passages[start : start + _BATCH]
            if self._stage == "bm25":
                found += [Embedding(None, sparse) for sparse in self._pair.sparse_documents(part)]
            else:
                found += self._pair.embed_documents(part)
        return found

    def _sparse_hits(self, embedding: Embedding, top_k: int) -> list[Hit]:
        scores: dict[int, float] = {}
        for index, times in zip(embedding.sparse.indices, embedding.sparse.values, strict=True):
            if index in self._postings:
                rows, values = self._postings[index]
                for row, value in zip(rows, values, strict=True):
                    scores[row] = scores.get(row, 0.0) + times * value * self._idf[index]
        return self._hits({row: score for row, score in scores.items() if score > 0}, top_k)

    def _dense_hits(self, embedding: Embedding, top_k: int) -> list[Hit]:
        if embedding.dense is None or not self._dense_rows:
            return []
        cosines = self._dense @ embedding.dense
        return self._hits(dict(zip(self._dense_rows, map(float, cosines), strict=True)), top_k)

    def _hits(self, scores: Mapping[int, float], top_k: int) -> list[Hit]:
        best = sorted(scores, key=lambda row: (-scores[row], self._ids[row]))[:top_k]
        return [Hit(self._ids[row], scores[row], rank) for rank, row in enumerate(best, start=1)]

    def _credits(self, query: str, sparse: Sequence[Hit]) -> dict[str, float]:
        texts = {hit.id: self._texts[hit.id] for hit in sparse}
        return literal_credits(query, texts, self._pair.coverage, self._settings.encoders.min_coverage)


def _weighed(pair: EncoderPair, passages: Sequence[str]) -> EncoderPair:
    lengths = [pair.document_length(text) for text in passages]
    mean = math.fsum(lengths) / len(lengths) if lengths else 0.0
    return pair.with_average_length(mean) if mean > 0 else pair


def _postings(embedded: Sequence[Embedding]) -> dict[int, tuple[list[int], list[float]]]:
    postings: dict[int, tuple[list[int], list[float]]] = {}
    for row, one in enumerate(embedded):
        for index, value in zip(one.sparse.indices, one.sparse.values, strict=True):
            rows, values = postings.setdefault(index, ([], []))
            rows.append(row)
            values.append(value)
    return postings


def _stacked(vectors: Sequence[FloatArray | None]) -> FloatArray:
    present = [vector for vector in vectors if vector is not None]
    return np.stack(present) if present else np.zeros((0, 0), dtype=np.float32)
