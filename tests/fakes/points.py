"""Deterministic points, queries and settings for tests of the collection."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np

from indexing.collection import CollectionSpec
from indexing.records import Embedding, Point, SparseVector, TokenVectors
from indexing.settings import CollectionSettings, Settings

DIMENSIONS = 16
SPEC = CollectionSpec(DIMENSIONS, "dense-a", "sparse-a", sparse_idf=True)
TOKEN_DIMENSIONS = 24
TOKEN_SPEC = replace(
    SPEC, token_fingerprint="tokens-a", token_dimensions=TOKEN_DIMENSIONS, pooled_dimensions=8
)


def settings_in(folder: Path, **collection: object) -> Settings:
    """Settings with short idle times and no automatic builds, unless said otherwise."""
    values = {"idle_exit_s": 0.5, "optimize_after": 0, "timeout_s": 20.0} | collection
    return Settings(home=folder, collection=CollectionSettings(**values))


def embedding(rng: np.random.Generator, *, dense: bool = True, terms: int = 4) -> Embedding:
    indices = sorted({int(value) for value in rng.integers(0, 40, terms)})
    weights = tuple(float(np.float32(value)) for value in rng.uniform(0.1, 3, len(indices)))
    vector = rng.normal(size=DIMENSIONS).astype(np.float32) if dense else None
    return Embedding(vector, SparseVector(tuple(indices), weights))


def token_vectors(rng: np.random.Generator, most: int = 12) -> TokenVectors:
    """Unit rows and a pooled vector as ``TOKEN_SPEC`` has them."""
    rows = rng.normal(size=(int(rng.integers(1, most + 1)), TOKEN_DIMENSIONS))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return TokenVectors(rows.astype(np.float32), rng.normal(size=8).astype(np.float32))


def point(number: int, rng: np.random.Generator, *, tenant: str = "default", dense: bool = True) -> Point:
    """Point ``number``: its payload follows from the number, its vectors from ``rng``."""
    payload: dict[str, object] = {
        "tenant": tenant,
        "doc_id": f"doc-{number // 5:03d}",
        "version": f"v{number % 2}",
        "ordinal": number % 5,
        "start": number * 10,
        "end": number * 10 + 9,
        "text": f"sentence {number}",
        "source": f"file:///data/{number // 5}.txt",
    }
    if number % 3:
        payload["section"] = f"Report {number % 4} > Part {number % 3}"
        payload["page"] = number % 7
    if number % 4:
        payload["metadata"] = {
            "year": 2000 + number % 6 if number % 8 else float(2000 + number % 6),
            "draft": number % 2 == 0,
            "fiscal kind": f"kind {number % 3}",
            "ratio": number % 5 / 2,
        }
    return Point(point_id(number), embedding(rng, dense=dense), payload)


def point_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
