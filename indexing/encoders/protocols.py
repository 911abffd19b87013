"""The two encoder protocols, and the pair that the pipeline holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from indexing.records import Embedding, FloatArray, SparseVector


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must be equal for two encoders' vectors to be comparable.

    ``digest`` covers kind, weights and every parameter that changes a vector;
    not the runtime, its precision or its thread count.
    """

    kind: str
    name: str
    parameters: Mapping[str, object]

    @property
    def digest(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON."""
        body = json.dumps([self.kind, self.name, dict(self.parameters)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(body.encode()).hexdigest()[:16]


@runtime_checkable
class DenseEncoder(Protocol):
    """Texts to unit vectors; calls are not thread-safe and hold one worker."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def scripts(self) -> frozenset[str] | None:
        """Unicode scripts the model was trained on ("Latin", "Han"); None: every script."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return ``(len(texts), dimensions)`` float32, rows of unit length."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """The same for queries (a model may prefix them)."""
        ...


@runtime_checkable
class SparseEncoder(Protocol):
    """Texts to term weights."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def idf(self) -> bool:
        """Whether the engine multiplies by IDF at query time (BM25: yes)."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]: ...

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]: ...

    def term(self, index: int) -> str | None:
        """The word behind a dimension, for display; None when it is not known."""
        ...


class EncoderPair(Protocol):
    """Dense and sparse together, as the pipeline and the service use them.

    BGE-M3 fills both sides from one forward pass.  A text whose script the
    dense side does not know gets ``dense=None``.
    """

    @property
    def dense_fingerprint(self) -> Fingerprint: ...

    @property
    def sparse_fingerprint(self) -> Fingerprint: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def sparse_idf(self) -> bool: ...

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]: ...

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]: ...

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """The sparse side alone: what a re-weighing after a length drift needs."""
        ...

    def document_length(self, text: str) -> int:
        """Terms of a text as the sparse side counts them; 0 when it does not."""
        ...

    def with_average_length(self, average: float) -> EncoderPair:
        """The same pair with BM25's average length set; itself when unused."""
        ...

    def coverage(self, text: str) -> float:
        """Share (0 to 1) of the text's letters in scripts the dense side knows."""
        ...

    def term(self, index: int) -> str | None: ...
