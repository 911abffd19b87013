"""An encoder pair whose documents also get token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from indexing.encoders.protocols import EncoderPair, Fingerprint
from indexing.records import Embedding, SparseVector

if TYPE_CHECKING:
    from indexing.encoders.tokens import TokenEncoder


class TokenPair:
    """Any pair, with a token encoder beside it.

    ``embed_documents`` stays the inner pair's: a search encodes documents too
    (HyDE), and has no use for their tokens.  The ingest calls
    :func:`with_tokens`.
    """

    def __init__(self, inner: EncoderPair, tokens: TokenEncoder) -> None:
        self._inner = inner
        self.tokens = tokens

    @property
    def dense_fingerprint(self) -> Fingerprint:
        return self._inner.dense_fingerprint

    @property
    def sparse_fingerprint(self) -> Fingerprint:
        return self._inner.sparse_fingerprint

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    @property
    def sparse_idf(self) -> bool:
        return self._inner.sparse_idf

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        return self._inner.embed_documents(texts)

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]:
        return self._inner.embed_queries(texts)

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._inner.sparse_documents(texts)

    def document_length(self, text: str) -> int:
        return self._inner.document_length(text)

    def with_average_length(self, average: float) -> TokenPair:
        return TokenPair(self._inner.with_average_length(average), self.tokens)

    def coverage(self, text: str) -> float:
        return self._inner.coverage(text)

    def term(self, index: int) -> str | None:
        return self._inner.term(index)


def tokens_of(encoders: EncoderPair) -> TokenEncoder | None:
    """The token encoder beside the pair; None when no token vectors are stored."""
    return encoders.tokens if isinstance(encoders, TokenPair) else None


def with_tokens(
    encoders: EncoderPair, texts: Sequence[str], embeddings: Sequence[Embedding]
) -> list[Embedding]:
    """Return the texts' embeddings with their token vectors, where those are stored."""
    encoder = tokens_of(encoders)
    if encoder is None:
        return list(embeddings)
    made = encoder.encode(texts)
    return [replace(one, tokens=tokens) for one, tokens in zip(embeddings, made, strict=True)]
