"""A corpus in memory: encoders, collection and catalogue that compute by counting words.

A dense vector counts letters, a sparse vector counts words; scores are plain
dot products, so a test can work them out by hand.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from indexing.catalog.records import Window
from indexing.collection.filters import Filter
from indexing.collection.protocol import CollectionInfo, CollectionSpec, StoredPoint
from indexing.encoders.protocols import Fingerprint
from indexing.identity import point_id, point_prefix, split_point_id
from indexing.records import NO_PAYLOAD, Embedding, FloatArray, Hit, Mode, SideHits, SparseVector

DIMENSIONS = 27
_SENTENCE = re.compile(r"[^.?!。？！]+[.?!。？！]*")


def split(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, without the white space around them."""
    spans = []
    for match in _SENTENCE.finditer(text):
        sentence = match.group().strip()
        if sentence:
            start = match.start() + match.group().index(sentence)
            spans.append((start, start + len(sentence)))
    return spans


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower())


class WordEncoders:
    """An ``EncoderPair``: letters as the dense side, words as the sparse side."""

    dense_fingerprint = Fingerprint("dense", "letters", {})
    sparse_fingerprint = Fingerprint("sparse", "words", {})
    dimensions = DIMENSIONS
    sparse_idf = False

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        return [self._embed(text) for text in texts]

    def embed_queries(self, texts: Sequence[str]) -> list[Embedding]:
        return [self._embed(text) for text in texts]

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return [self._embed(text).sparse for text in texts]

    def document_length(self, text: str) -> int:
        return len(words(text))

    def with_average_length(self, average: float) -> WordEncoders:
        return self

    def coverage(self, text: str) -> float:
        letters = [letter for letter in text if letter.isalpha()]
        return sum(letter.isascii() for letter in letters) / len(letters) if letters else 1.0

    def term(self, index: int) -> str | None:
        return None

    def _embed(self, text: str) -> Embedding:
        counts = Counter(zlib.crc32(word.encode()) for word in words(text))
        indices = tuple(sorted(counts))
        sparse = SparseVector(indices, tuple(float(counts[index]) for index in indices))
        if self.coverage(text) < 0.5:
            return Embedding(None, sparse)
        vector = np.zeros(DIMENSIONS, dtype=np.float32)
        for letter in text.lower():
            if "a" <= letter <= "z":
                vector[ord(letter) - ord("a")] += 1
        vector[-1] = 0.1
        return Embedding((vector / np.linalg.norm(vector)).astype(np.float32), sparse)


@dataclass
class FakeDocument:
    tenant: str
    doc_id: str
    text: str
    version: str = "v1"
    title: str = ""
    sources: tuple[str, ...] = ("file.txt",)
    live: bool = True
    metadata: dict[str, object] = field(default_factory=dict)

    @property
    def spans(self) -> list[tuple[int, int]]:
        return split(self.text)


class FakeCatalog:
    """Windows of documents held in a dictionary; counts its calls."""

    def __init__(self, documents: Sequence[FakeDocument]) -> None:
        self.documents = {(one.tenant, one.doc_id, one.version): one for one in documents}
        self.by_prefix = {point_prefix(*key): one for key, one in self.documents.items()}
        self.calls: list[int] = []

    def windows(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
        self.calls.append(len(points))
        return [self._window(tenant, *split_point_id(point), size) for point in points]

    def text(self, tenant: str, doc_id: str) -> str:
        return next(
            one.text for one in self.documents.values() if (one.tenant, one.doc_id) == (tenant, doc_id)
        )

    def _window(self, tenant: str, prefix: str, ordinal: int, size: int) -> Window | None:
        document = self.by_prefix.get(prefix)
        if document is None or document.tenant != tenant or not document.live:
            return None
        first, last = max(0, ordinal - size), min(len(document.spans) - 1, ordinal + size)
        spans = tuple(document.spans[first : last + 1])
        start, end = spans[0][0], spans[-1][1]
        return Window(
            tenant=tenant,
            doc_id=document.doc_id,
            version=document.version,
            ordinal=ordinal,
            first=first,
            last=last,
            start=start,
            end=end,
            text=document.text[start:end],
            spans=spans,
            title=document.title,
            source=document.sources[0],
            sources=document.sources,
            section="",
            metadata=document.metadata,
        )


class FakeCollection:
    """Exact search over a list; records every search it was asked for."""

    def __init__(self, documents: Sequence[FakeDocument], encoders: WordEncoders) -> None:
        self.encoders = encoders
        self.searches: list[dict[str, object]] = []
        self.rows: list[tuple[str, Embedding, dict[str, object]]] = []
        for document in documents:
            for ordinal, (start, end) in enumerate(document.spans):
                text = document.text[start:end]
                payload: dict[str, object] = {
                    "tenant": document.tenant,
                    "doc_id": document.doc_id,
                    "version": document.version,
                    "ordinal": ordinal,
                    "start": start,
                    "end": end,
                    "text": text,
                    "source": document.sources[0],
                }
                if document.metadata:
                    payload["metadata"] = document.metadata
                identity = point_id(document.tenant, document.doc_id, document.version, ordinal)
                self.rows.append((identity, encoders.embed_documents([text])[0], payload))

    async def search(
        self,
        query: Embedding,
        *,
        tenant: str,
        top_k: int,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        exact: bool = False,
        with_payload: bool = True,
    ) -> SideHits:
        self.searches.append(
            {"tenant": tenant, "top_k": top_k, "mode": mode, "filter": filter, "with_payload": with_payload}
        )
        rows = [row for row in self.rows if row[2]["tenant"] == tenant and _passes(row[2], filter)]
        dense: list[tuple[float, str, dict[str, object]]] = []
        sparse: list[tuple[float, str, dict[str, object]]] = []
        for identity, embedding, payload in rows:
            if mode != "sparse" and query.dense is not None and embedding.dense is not None:
                dense.append((dot(query.dense, embedding.dense), identity, payload))
            if mode != "dense" and (score := overlap(query.sparse, embedding.sparse)) > 0:
                sparse.append((score, identity, payload))
        return SideHits(_ranked(dense, top_k, with_payload), _ranked(sparse, top_k, with_payload), 0.01)

    async def retrieve(
        self, ids: Sequence[str], *, tenant: str, with_vectors: bool = False
    ) -> list[StoredPoint]:
        by_id = {row[0]: row for row in self.rows if row[2]["tenant"] == tenant}
        return [StoredPoint(one, by_id[one][2], by_id[one][1]) for one in ids if one in by_id]

    async def info(self) -> CollectionInfo:
        spec = CollectionSpec(
            DIMENSIONS,
            self.encoders.dense_fingerprint.digest,
            self.encoders.sparse_fingerprint.digest,
            self.encoders.sparse_idf,
        )
        return CollectionInfo("memory", len(self.rows), 0, 1, None, False, False, spec)

    async def close(self) -> None:
        return None


def dot(one: FloatArray, other: FloatArray) -> float:
    return float(np.dot(one, other))


def overlap(one: SparseVector, other: SparseVector) -> float:
    weights = dict(zip(one.indices, one.values, strict=True))
    return sum(weights.get(i, 0.0) * value for i, value in zip(other.indices, other.values, strict=True))


def _ranked(found: list[tuple[float, str, dict[str, object]]], top_k: int, with_payload: bool) -> list[Hit]:
    best = sorted(found, key=lambda one: (-one[0], one[1]))[:top_k]
    return [
        Hit(identity, score, rank, payload if with_payload else NO_PAYLOAD)
        for rank, (score, identity, payload) in enumerate(best, 1)
    ]


def _passes(payload: dict[str, object], filter: Filter | None) -> bool:
    for condition in filter.conditions if filter else ():
        key = condition.key.removeprefix("metadata.")
        value = payload.get(key, dict(payload.get("metadata", {})).get(key))  # type: ignore[call-overload]
        if condition.any_of and value not in condition.any_of:
            return False
    return True
