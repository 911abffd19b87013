"""Exact search with an encoder, and what is measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from distill.embedding.sets import RetrievalSet
from indexing.encoders.sentence_transformer import prefixes_of
from indexing.encoders.validation import unit_rows
from indexing.records import FloatArray
from retrieval.metrics import Report, evaluate

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MEASURES = ("MAP", "MRR@10", "NDCG@10", "Recall@100")
NDCG = "NDCG@10"
# Documents of a ranking that count: trec_eval's usual depth, which bounds MAP only.
DEPTH = 1000


class Encoder(Protocol):
    """Texts to unit vectors, ``(n_texts, dimensions)``; every dense encoder of the index is one."""

    def encode_documents(self, texts: Sequence[str]) -> FloatArray: ...

    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...


class ModelEncoder:
    """A sentence-transformers model in memory, with its own prefixes, as an encoder."""

    def __init__(self, model: SentenceTransformer, *, batch_size: int = 64) -> None:
        self._model = model
        self._batch_size = batch_size
        self._query_prefix, self._document_prefix = prefixes_of(model)

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._document_prefix)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._query_prefix)

    def _encode(self, texts: Sequence[str], prefix: str) -> FloatArray:
        was_training = self._model.training
        try:
            vectors = self._model.encode(
                list(texts),
                prompt=prefix or None,
                batch_size=self._batch_size,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        finally:
            self._model.train(was_training)  # encode() leaves the model in eval mode
        return unit_rows(np.asarray(vectors, dtype=np.float32), vectors.shape[1])


class Vectors:
    """The vectors of one set, searched exactly; made once for every measure and prefix length.

    Attributes:
        documents: ``(n_documents, dimensions)``, rows in the order of doc_id.
        queries: ``(n_queries, dimensions)``, rows in the order of the set.
    """

    def __init__(self, encoder: Encoder, given: RetrievalSet) -> None:
        self._given = given
        # Sorted ids, so that a stable sort by score breaks ties by doc_id.
        self._doc_ids = sorted(given.corpus)
        self.documents = encoder.encode_documents([given.corpus[one] for one in self._doc_ids])
        self.queries = encoder.encode_queries(list(given.queries.values()))

    def run(self, dimensions: int | None = None, depth: int = DEPTH) -> dict[str, dict[str, float]]:
        """Return query_id -> doc_id -> cosine of the best ``depth`` documents, best first.

        ``dimensions`` cuts every vector to a prefix, scaled to length 1 again.
        """
        queries, documents = prefix(self.queries, dimensions), prefix(self.documents, dimensions)
        found: dict[str, dict[str, float]] = {}
        for query_id, vector in zip(self._given.queries, queries, strict=True):
            scores = documents @ vector
            best = np.argsort(-scores, kind="stable")[:depth]
            found[query_id] = {self._doc_ids[int(at)]: float(scores[at]) for at in best}
        return found

    def report(self, dimensions: int | None = None, measures: Sequence[str] = MEASURES) -> Report:
        """Return MAP, MRR@10, NDCG@10 and Recall@100 over the whole corpus (MAP to rank 1,000)."""
        return evaluate(self.run(dimensions), self._given.relevant, measures)

    @property
    def spread(self) -> float:
        """1 - mean cosine over all pairs of documents: 0 when they share one vector.

        For unit vectors the sum over all ordered pairs is the squared length
        of their sum, so no matrix of pairs is needed.
        """
        return spread(self.documents)


def prefix(vectors: FloatArray, dimensions: int | None) -> FloatArray:
    """Return the first ``dimensions`` components of each row, scaled to length 1; None: all, as they are."""
    if dimensions is None or dimensions >= vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.asarray(cut / np.maximum(lengths, 1e-12), dtype=np.float32)


def spread(vectors: FloatArray) -> float:
    """Return 1 - mean cosine over all pairs of unit rows, ``(n, dimensions)``; n is at least 2.

    >>> round(spread(np.eye(2, dtype=np.float32)), 6)
    1.0
    """
    count = len(vectors)
    total = np.asarray(vectors, dtype=np.float64).sum(axis=0)
    return float(1.0 - (total @ total - count) / (count * (count - 1)))
