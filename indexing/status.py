"""What an index holds, and whether its two halves agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from indexing.catalog.lifecycle import AVERAGE_KEY
from indexing.collection.protocol import CollectionInfo
from indexing.errors import CollectionError
from indexing.session import Index

_SAMPLE = 5000


def status_of(index: Index, tenant: str | None = None) -> dict[str, Any]:
    """Return counts, fingerprints and sizes, ready for JSON.

    ``payload_bytes_per_raw_byte`` compares the payloads of up to 5,000 points,
    as JSON in UTF-8, with the sentences in them.  ``consistent`` is whether the
    collection has exactly the points of the live documents: None while an
    ingest is under way, False with a ``collection_error`` when it does not answer.
    """
    totals = index.catalog.totals(tenant)
    body: dict[str, Any] = {
        "home": str(index.settings.home),
        "generation": index.pair.number,
        "other_generation": _other(index),
        "documents": totals.documents,
        "sentences": totals.sentences,
        "chars": totals.chars,
        "staged": totals.staged,
        "retiring": totals.retiring,
        "sources": totals.sources,
        "failed_sources": totals.failed_sources,
        "sparse_average_length": index.catalog.meta(AVERAGE_KEY),
        "catalog_bytes": _size(index.settings.home / "catalog.db"),
        "collection": None,
        "consistent": None,
    }
    try:
        body.update(_collection(index, tenant))
    except CollectionError as error:
        hint = "" if "python -m indexing" in str(error) else "; run: python -m indexing repair"
        body["collection_error"] = f"{error}{hint}"
        body["consistent"] = False
    return body


def _other(index: Index) -> str | None:
    """The generation that is not served, and what it lacks."""
    other = index.pair.other
    if other is None:
        return None
    owed = index.catalog.generations.debt().sentences if other.state == "beside" else 0
    return f"{other.number}, {other.state}" + (f", {owed} sentences behind" if owed else "")


def _collection(index: Index, tenant: str | None) -> dict[str, Any]:
    info = index.bridge(index.collection.info)
    everything = index.catalog.totals()
    settled = not everything.staged and not everything.retiring
    return {
        "consistent": info.points == everything.sentences if settled else None,
        "collection": {
            "home": info.home,
            "points": info.points,
            "indexed_points": info.indexed_points,
            "segments": info.segments,
            "disk_bytes": info.disk_bytes,
            "optimizing": info.optimizing,
            "read_only": info.read_only,
            "dimensions": info.spec.dimensions,
            "dense_fingerprint": info.spec.dense_fingerprint,
            "sparse_fingerprint": info.spec.sparse_fingerprint,
            **_tokens(info),
        },
        "payload_bytes_per_raw_byte": payload_ratio(index, tenant),
    }


def _tokens(info: CollectionInfo) -> dict[str, Any]:
    """What stored token vectors are and cost; nothing where none are stored."""
    if not info.spec.token_dimensions:
        return {}
    cost = None if info.token_bytes is None or not info.points else round(info.token_bytes / info.points)
    return {
        "token_fingerprint": info.spec.token_fingerprint,
        "token_dimensions": info.spec.token_dimensions,
        "token_bytes": info.token_bytes,
        "token_bytes_per_sentence": cost,
    }


def payload_ratio(index: Index, tenant: str | None) -> float | None:
    """Bytes of payload per byte of sentence text, over a sample; None when empty."""
    payload_bytes = raw_bytes = points = 0
    for batch in index.bridge.iterate(index.collection.scroll, tenant=tenant):
        for point in batch:
            text = str(point.payload["text"])
            payload_bytes += len(
                json.dumps(dict(point.payload), ensure_ascii=False, separators=(",", ":")).encode()
            )
            raw_bytes += len(text.encode())
        points += len(batch)
        if points >= _SAMPLE:
            break
    return round(payload_bytes / raw_bytes, 3) if raw_bytes else None


def _size(path: Path) -> int:
    """Bytes of a SQLite database with its log."""
    return sum(file.stat().st_size for file in (path, path.with_name(path.name + "-wal")) if file.exists())
