"""Counts and sample queries of a collection, noted when it is copied and asked again later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexing.collection.protocol import Collection
from indexing.errors import MismatchError
from indexing.records import Hit
from indexing.snapshots.manifest import CollectionEntry
from indexing.transfer.compare import TOP_K, as_query, differing, sample

_SIDES = ("dense", "sparse")


async def describe(
    collection: Collection, name: str, tenants: Sequence[str], queries: int, seed: int
) -> CollectionEntry:
    """Note what the collection holds, and what ``queries`` of its points find."""
    samples: list[dict[str, Any]] = []
    for row in await sample(collection, queries, seed):
        query = as_query(row.embedding)
        if query is None:
            continue
        tenant = str(row.payload["tenant"])
        found = await collection.search(query, tenant=tenant, top_k=TOP_K, exact=True)
        sides = {side: [[hit.id, hit.score] for hit in getattr(found, side)] for side in _SIDES}
        samples.append({"id": row.id, "tenant": tenant, **sides})
    counts = {tenant: await collection.count(tenant=tenant) for tenant in tenants}
    return CollectionEntry(name, await collection.count(tenant=None), counts, samples)


async def check(collection: Collection, entry: CollectionEntry) -> None:
    """Ask everything again.

    Raises:
        MismatchError: another count, or a query that finds something else.
    """
    points = await collection.count(tenant=None)
    if points != entry.points:
        raise MismatchError(f"collection {entry.name!r}: {points} points instead of {entry.points}")
    for tenant, expected in entry.tenants.items():
        counted = await collection.count(tenant=tenant)
        if counted != expected:
            raise MismatchError(f"tenant {tenant!r}: {counted} points instead of {expected}")
    for asked in entry.samples:
        rows = await collection.retrieve([asked["id"]], tenant=asked["tenant"], with_vectors=True)
        query = as_query(rows[0].embedding) if rows else None
        if query is None:
            raise MismatchError(f"point {asked['id']} is not there, or has no vectors")
        found = await collection.search(query, tenant=asked["tenant"], top_k=TOP_K, exact=True)
        for side in _SIDES:
            expected_hits = [Hit(id, score, rank, {}) for rank, (id, score) in enumerate(asked[side], 1)]
            reason = differing(expected_hits, getattr(found, side))
            if reason:
                raise MismatchError(f"query by point {asked['id']}, {side} side: {reason}")
