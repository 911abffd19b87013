"""Stand-ins for the encoders and the collection: deterministic, small, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from indexing.bridge import Bridge
from indexing.catalog import open_catalog
from indexing.collection.protocol import CollectionInfo, CollectionSpec, StoredPoint
from indexing.encoders.protocols import Fingerprint
from indexing.records import Embedding, Extraction, Point, SparseVector
from indexing.session import Index, no_checkpoint
from indexing.settings import Settings, load_settings

DIMENSIONS = 8


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class FakeEncoders:
    """Dense: a unit vector drawn from the text's hash.  Sparse: words weighed as BM25 does."""

    dimensions = DIMENSIONS
    sparse_idf = True

    def __init__(self, average: float = 1.0, name: str = "fake") -> None:
        self.average = average
        self.name = name
        self.encoded: list[str] = []
        self.weighed: list[str] = []

    @property
    def dense_fingerprint(self) -> Fingerprint:
        return Fingerprint("dense", self.name, {})

    @property
    def sparse_fingerprint(self) -> Fingerprint:
        return Fingerprint("sparse", self.name, {})

    def _dense(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def _sparse(self, text: str) -> SparseVector:
        counts = Counter(int(hashlib.sha256(word.encode()).hexdigest()[:6], 16) for word in words(text))
        length = sum(counts.values())
        norm = 1.2 * (0.25 + 0.75 * length / self.average)
        weights = {index: tf * 2.2 / (tf + norm) for index, tf in counts.items()}
        return SparseVector(tuple(sorted(weights)), tuple(weights[index] for index in sorted(weights)))

    def embed_documents(self, texts: Sequence[str]) -> list[Embedding]:
        self.encoded.extend(texts)
        return [Embedding(self._dense(text), self._sparse(text)) for text in texts]

    embed_queries = embed_documents

    def sparse_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        self.weighed.extend(texts)
        return [self._sparse(text) for text in texts]

    def document_length(self, text: str) -> int:
        return len(words(text))

    def with_average_length(self, average: float) -> FakeEncoders:
        self.average = average
        return self

    def coverage(self, text: str) -> float:
        return 1.0

    def term(self, index: int) -> str | None:
        return None


class FileCollection:
    """Points in a SQLite file; a write survives SIGKILL of this process."""

    def __init__(self, path: Path, spec: CollectionSpec) -> None:
        self.spec = spec
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS points"
            "(id TEXT PRIMARY KEY, tenant, doc_id, version, payload, dense, sparse)"
        )
        self.upserted = 0
        self.optimized = 0

    async def upsert(self, points: Sequence[Point]) -> None:
        self.upserted += len(points)
        rows = []
        for point in points:
            body = point.payload
            dense = None if point.embedding.dense is None else point.embedding.dense.tobytes()
            sparse = json.dumps([point.embedding.sparse.indices, point.embedding.sparse.values])
            rows.append(
                (point.id, body["tenant"], body["doc_id"], body["version"], json.dumps(body), dense, sparse)
            )
        self._db.execute("BEGIN")
        self._db.executemany("REPLACE INTO points VALUES (?,?,?,?,?,?,?)", rows)
        self._db.execute("COMMIT")

    async def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        rows = [(json.dumps([vector.indices, vector.values]), id) for id, vector in vectors.items()]
        self._db.execute("BEGIN")
        self._db.executemany("UPDATE points SET sparse = ? WHERE id = ?", rows)
        self._db.execute("COMMIT")

    async def delete(self, ids: Sequence[str]) -> None:
        self._db.executemany("DELETE FROM points WHERE id = ?", [(id,) for id in ids])

    async def delete_document(self, tenant: str, doc_id: str, *, keep_version: str | None = None) -> None:
        self._db.execute(
            "DELETE FROM points WHERE tenant = ? AND doc_id = ? AND version IS NOT ?",
            (tenant, doc_id, keep_version),
        )

    async def retrieve(
        self, ids: Sequence[str], *, tenant: str, with_vectors: bool = False
    ) -> list[StoredPoint]:
        where = "WHERE id = ? AND tenant = ?"
        return [point for id in ids for point in self.points(where, id, tenant)]

    def points(self, where: str = "ORDER BY id", *values: str) -> Iterator[StoredPoint]:
        for id, payload, dense, sparse in self._db.execute(
            f"SELECT id, payload, dense, sparse FROM points {where}", values
        ):
            indices, values = json.loads(sparse)
            vector = None if dense is None else np.frombuffer(dense, dtype=np.float32)
            embedding = Embedding(vector, SparseVector(tuple(indices), tuple(values)))
            yield StoredPoint(id, json.loads(payload), embedding)

    async def scroll(
        self, *, tenant: str | None, filter: object = None, batch: int = 1000, with_vectors: bool = False
    ) -> AsyncIterator[list[StoredPoint]]:
        points = [point for point in self.points() if tenant in (None, point.payload["tenant"])]
        for start in range(0, len(points), batch):
            yield points[start : start + batch]

    async def count(self, *, tenant: str | None, filter: object = None) -> int:
        return sum(tenant in (None, point.payload["tenant"]) for point in self.points())

    async def info(self) -> CollectionInfo:
        count = await self.count(tenant=None)
        return CollectionInfo("memory", count, 0, 1, None, False, False, self.spec)

    async def optimize(self, *, wait: bool = False) -> bool:
        self.optimized += 1
        return True

    async def close(self) -> None:
        self._db.close()


def fake_settings(home: Path, **indexing: object) -> Settings:
    return load_settings(home=home, indexing={"lock_timeout_s": 20.0, "read_timeout_s": 20.0, **indexing})


def fake_index(
    settings: Settings, *, checkpoint=no_checkpoint, reader=("indexing.readers", "read_file")
) -> Index:
    """An index on the real catalogue with the fakes above, everything below ``settings.home``."""
    catalog = open_catalog(settings)
    encoders = FakeEncoders()
    spec = CollectionSpec(
        DIMENSIONS, encoders.dense_fingerprint.digest, encoders.sparse_fingerprint.digest, True
    )
    return Index(
        settings,
        catalog,
        bridge=Bridge(),
        collection=FileCollection(settings.home / "points.db", spec),
        encoders=encoders,
        checkpoint=checkpoint,
        reader=reader,
    )


def read_badly(path: Path, *, max_bytes: int) -> Iterator[Extraction]:
    """A parser with every fault: hangs, crashes, prints, raises; else the file's text."""
    text = path.read_text()
    os.write(1, b"parsers print")
    if "HANG" in text:
        time.sleep(600)
    if "CRASH" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "RAISE" in text:
        raise RuntimeError("bad table")
    yield Extraction(text=text)
