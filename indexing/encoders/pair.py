"""Dense and sparse side by side, with the rule for texts the dense side does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from indexing.encoders.bm25 import Bm25Encoder
from indexing.encoders.protocols import DenseEncoder, Fingerprint, SparseEncoder
from indexing.languages import coverage
from indexing.records import Embedding, FloatArray, SparseVector


class ComposedPair:
    """Two encoders behind the ``EncoderPair`` protocol.

    A text of which fewer than ``min_coverage`` of the letters are in scripts
    the dense encoder knows is not given to it and gets ``dense=None``: its
    vector would be noise that fusion cannot tell from knowledge.
    """

    def __init__(self, dense: DenseEncoder, sparse: SparseEncoder, *, min_coverage: float) -> None:
        self.dense = dense
        self.sparse = sparse
        self._min_coverage = min_coverage

    @property
    def dense_fingerprint(self) -> Fingerprint:
        return with_coverage(self.dense, self._min_coverage)

    @property
    def sparse_fingerprint(self) -> Fingerprint:
        return self.sparse.fingerprint

    @property
    def dimensions(self) -> int:
        return self.dense.dimensions

    @property
    def sparse_idf(self) -> bool:
        return self.sparse.idf

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        sparse = self.sparse.encode_documents(texts)
        return self._join(texts, sparse, self.dense.encode_documents)

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]:
        sparse = self.sparse.encode_queries(texts)
        return self._join(texts, sparse, self.dense.encode_queries)

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self.sparse.encode_documents(texts)

    def document_length(self, text: str) -> int:
        return self.sparse.document_length(text) if isinstance(self.sparse, Bm25Encoder) else 0

    def with_average_length(self, average: float) -> ComposedPair:
        if not isinstance(self.sparse, Bm25Encoder):
            return self
        return ComposedPair(
            self.dense, self.sparse.with_average_length(average), min_coverage=self._min_coverage
        )

    def coverage(self, text: str) -> float:
        return coverage(text, self.dense.scripts)

    def term(self, index: int) -> str | None:
        return self.sparse.term(index)

    def _join(
        self,
        texts: Sequence[str],
        sparse: Sequence[SparseVector],
        encode: Callable[[Sequence[str]], FloatArray],
    ) -> list[Embedding]:
        known = [at for at, text in enumerate(texts) if self.coverage(text) >= self._min_coverage]
        vectors = encode([texts[at] for at in known]) if known else ()
        dense: list[FloatArray | None] = [None] * len(texts)
        for at, vector in zip(known, vectors, strict=True):
            dense[at] = vector
        return [Embedding(vector, terms) for vector, terms in zip(dense, sparse, strict=True)]


def with_coverage(dense: DenseEncoder, min_coverage: float) -> Fingerprint:
    """The dense fingerprint with the rule that decides which texts have a vector at all."""
    inner = dense.fingerprint
    if dense.scripts is None:
        return inner  # every text has one, whatever the threshold
    rule = {"scripts": sorted(dense.scripts), "min_coverage": min_coverage}
    return Fingerprint(inner.kind, inner.name, {**inner.parameters, **rule})
