"""Dense and token vectors that the served generation has already, where the same models made them.

A change of BM25's parameters, of the quantization or of the graph then runs no
model at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexing.ingest.encoding import embed
from indexing.ingest.inputs import Item
from indexing.migration.sides import identity_of
from indexing.records import Embedding
from indexing.session import Index
from indexing.settings import Settings


def same_models(served: Index, mirror: Index) -> bool:
    """Whether all vectors but the sparse ones would be equal in both generations.

    The settings are compared first, so that no model is loaded to find out that another one is asked for.
    """
    old, new = served.settings, mirror.settings
    if _dense_part(old) != _dense_part(new):
        return False
    if new.encoders.late_interaction and old.collection.tokens_format != new.collection.tokens_format:
        return False  # stored numbers of 8 bits are not those of 16
    one, other = served.collection.spec, mirror.collection.spec
    return (one.dense_fingerprint, one.dimensions, one.token_fingerprint) == (
        other.dense_fingerprint,
        other.dimensions,
        other.token_fingerprint,
    )


def _dense_part(settings: Settings) -> dict[str, Any]:
    values = identity_of(settings.encoders)
    return {name: value for name, value in values.items() if not name.startswith(("sparse", "bm25"))}


def embeddings_of(served: Index, mirror: Index, batch: Sequence[Item]) -> list[Embedding]:
    """Return the new generation's embeddings of a batch; what the served one lacks is encoded."""
    if not same_models(served, mirror):
        return embed(mirror.encoders, [item.text for item in batch])
    found = _stored(served, batch)
    lacking = [item for item in batch if item.id not in found]
    if lacking:
        made = embed(mirror.encoders, [item.text for item in lacking])
        found.update(zip((item.id for item in lacking), made, strict=True))
    sparse = mirror.encoders.sparse_documents([item.text for item in batch])
    return [
        Embedding(found[item.id].dense, terms, found[item.id].tokens)
        for item, terms in zip(batch, sparse, strict=True)
    ]


def _stored(served: Index, batch: Sequence[Item]) -> dict[str, Embedding]:
    ids: dict[str, list[str]] = {}
    for item in batch:
        ids.setdefault(item.document.tenant, []).append(item.id)
    found: dict[str, Embedding] = {}
    for tenant, wanted in ids.items():
        points = served.bridge(served.collection.retrieve, wanted, tenant=tenant, with_vectors=True)
        found.update((point.id, point.embedding) for point in points if point.embedding is not None)
    return found
