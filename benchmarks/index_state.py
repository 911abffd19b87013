"""Everything an index holds, and how two indexes differ."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexing.collection.protocol import StoredPoint
from indexing.records import TokenVectors
from indexing.session import Index


def all_points(index: Index) -> list[StoredPoint]:
    """Every point with its vectors."""
    batches = index.bridge.iterate(index.collection.scroll, tenant=None, with_vectors=True)
    return [point for batch in batches for point in batch]


def catalog_rows(home: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row that must be equal: all but the catalogue's own keys and times."""
    queries = {
        "documents": "SELECT tenant, doc_id, version, state, title, media_type, source, sentences, chars, "
        "terms, embedded, average, metadata FROM documents ORDER BY 1, 2, 3",
        "blocks": "SELECT d.tenant, d.doc_id, d.version, first_ordinal, count, start, end, text, spans, "
        "pages, sections FROM blocks b JOIN documents d ON d.key = b.document ORDER BY 1, 2, 3, 4",
        "sources": "SELECT tenant, uri, state, sha256, size, media_type, digest, error FROM sources "
        "ORDER BY 1, 2",
        "links": "SELECT tenant, uri, doc_id, kept FROM source_documents ORDER BY 1, 2, 3",
        # Not the counts of changes: a run that was killed may make one twice.
        "meta": "SELECT key, value FROM meta WHERE key NOT LIKE 'revision:%' ORDER BY 1",
    }
    database = sqlite3.connect(home / "catalog.db")
    try:
        return {name: database.execute(query).fetchall() for name, query in queries.items()}
    finally:
        database.close()


@dataclass(slots=True)
class Difference:
    """How two indexes differ; nothing lost, nothing twice, nothing else is the goal."""

    lost: int = 0
    surplus: int = 0
    duplicated: int = 0
    different: int = 0
    rows: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.surplus or self.duplicated or self.different or self.rows)


def compare_points(reference: Iterable[StoredPoint], found: Iterable[StoredPoint]) -> Difference:
    """Compare ids, payloads and vectors (dense to 1e-4: batches differ between runs)."""
    difference = Difference()
    wanted = {point.id: point for point in reference}
    ids: Counter[str] = Counter()
    places: Counter[tuple[object, ...]] = Counter()
    for point in found:
        ids[point.id] += 1
        places[tuple(point.payload[name] for name in ("tenant", "doc_id", "ordinal"))] += 1
        other = wanted.get(point.id)
        if other is None:
            difference.surplus += 1
        elif dict(other.payload) != dict(point.payload) or not _same_vectors(other, point):
            difference.different += 1
    difference.lost = len(wanted.keys() - ids.keys())
    difference.duplicated = sum(count - 1 for counter in (ids, places) for count in counter.values())
    return difference


def _same_vectors(one: StoredPoint, other: StoredPoint) -> bool:
    if one.embedding is None or other.embedding is None:
        return one.embedding is other.embedding
    first, second = one.embedding, other.embedding
    if first.sparse.indices != second.sparse.indices:
        return False
    if first.dense is not None and second.dense is not None:
        same = np.allclose(first.dense, second.dense, atol=1e-4)
    else:
        same = first.dense is second.dense
    return (
        same
        and _same_tokens(first.tokens, second.tokens)
        and np.allclose(first.sparse.values, second.sparse.values, rtol=1e-5)
    )


def _same_tokens(one: TokenVectors | None, other: TokenVectors | None) -> bool:
    """Whether both are stored alike; 8 bits a number leave .002."""
    if one is None or other is None:
        return one is other
    return one.tokens.shape == other.tokens.shape and np.allclose(one.tokens, other.tokens, atol=0.01)


def compare_rows(
    reference: Mapping[str, Sequence[tuple[object, ...]]], found: Mapping[str, Sequence[tuple[object, ...]]]
) -> list[str]:
    """The tables that differ, each with its first difference."""
    complaints = []
    for name, rows in reference.items():
        others = found[name]
        if rows != others:
            first = next((a, b) for a, b in zip([*rows, None], [*others, None], strict=False) if a != b)
            counts = f"{len(rows)} and {len(others)} rows"
            complaints.append(f"{name}: {counts}; {first[0]!r} and {first[1]!r}"[:600])
    return complaints
