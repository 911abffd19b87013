"""Are two collections equal? Counts by tenant, and a sample of points and queries on both."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexing.collection.protocol import Collection, StoredPoint
from indexing.errors import MismatchError
from indexing.records import Embedding, Hit
from indexing.transfer.patience import Patience

TOP_K = 10
# Both sides compute in float32, in another order; a stored vector may differ in its last bit.
TOLERANCE = 1e-4
# Token vectors are stored in 8 or 16 bits, by each engine in its own way.
_TOKEN_TOLERANCE = 0.02
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared and found equal."""

    points: int
    tenants: dict[str, int]
    sampled: int


async def sample(collection: Collection, wanted: int, seed: int) -> list[StoredPoint]:
    """Up to ``wanted`` points with their vectors, each the next one behind a random id."""
    draw = np.random.default_rng(seed)
    found: dict[str, StoredPoint] = {}
    for _ in range(wanted):
        start = str(uuid.UUID(bytes=draw.bytes(16)))
        row = await _first(collection, start) or await _first(collection, None)
        if row is None:
            break
        found[row.id] = row
    return list(found.values())


async def _first(collection: Collection, start: str | None) -> StoredPoint | None:
    async for rows in collection.scroll(tenant=None, batch=1, with_vectors=True, start=start):
        return rows[0]
    return None


async def compare(
    source: Collection,
    target: Collection,
    tenants: Sequence[str],
    *,
    queries: int,
    seed: int,
    patience: Patience,
) -> Comparison:
    """Compare counts, sampled points and their neighbours.

    Every sampled point's vectors are a query to both sides, exact, within its
    tenant: scores must agree within 1e-4, ids except where scores are tied.

    Raises:
        MismatchError: something differs; the message says what.
    """
    call = patience.call
    found: list[str] = []
    counts: dict[str, int] = {}
    for tenant in (None, *tenants):
        here = await source.count(tenant=tenant)
        there = await call(lambda tenant=tenant: target.count(tenant=tenant))  # type: ignore[misc]
        if here != there:
            whose = "all tenants" if tenant is None else f"tenant {tenant!r}"
            found.append(f"{whose}: {here} points here, {there} there")
        if tenant is not None:
            counts[tenant] = here
    rows = await sample(source, queries, seed)
    for row in rows:
        if len(found) > _SHOWN:
            break
        tenant = str(row.payload["tenant"])
        found += await call(lambda row=row, tenant=tenant: _same_point(target, row, tenant))  # type: ignore[misc]
        query = as_query(row.embedding)
        if query is not None:
            here_hits = await source.search(query, tenant=tenant, top_k=TOP_K, exact=True)
            there_hits = await call(
                lambda query=query, tenant=tenant: target.search(  # type: ignore[misc]
                    query, tenant=tenant, top_k=TOP_K, exact=True
                )
            )
            for side in ("dense", "sparse"):
                reason = differing(getattr(here_hits, side), getattr(there_hits, side))
                if reason:
                    found.append(f"query by point {row.id}, {side} side: {reason}")
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise MismatchError("the two collections differ: " + "; ".join(found[:_SHOWN]) + more)
    return Comparison(await source.count(tenant=None), counts, len(rows))


def as_query(embedding: Embedding | None) -> Embedding | None:
    """A stored point's vectors as a query; None when it has neither side."""
    if embedding is None or (embedding.dense is None and not embedding.sparse.indices):
        return None
    return Embedding(embedding.dense, embedding.sparse)


async def _same_point(target: Collection, row: StoredPoint, tenant: str) -> list[str]:
    found = await target.retrieve([row.id], tenant=tenant, with_vectors=True)
    if not found:
        return [f"point {row.id} is missing there"]
    other = found[0]
    if dict(other.payload) != dict(row.payload):
        return [f"point {row.id} has another payload there"]
    if not same_vectors(row.embedding, other.embedding):
        return [f"point {row.id} has other vectors there"]
    return []


def same_vectors(left: Embedding | None, right: Embedding | None) -> bool:
    """Whether two embeddings are equal up to the last bits."""
    if left is None or right is None:
        return left is right
    pairs = [
        (left.dense, right.dense, TOLERANCE),
        (np.asarray(left.sparse.indices), np.asarray(right.sparse.indices), 0.0),
        (np.asarray(left.sparse.values), np.asarray(right.sparse.values), TOLERANCE),
        *(
            (getattr(left.tokens, name, None), getattr(right.tokens, name, None), _TOKEN_TOLERANCE)
            for name in ("tokens", "pooled")
        ),
    ]
    return all(_close(one, other, tolerance) for one, other, tolerance in pairs)


def _close(one: np.ndarray | None, other: np.ndarray | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=tolerance, atol=tolerance))


def differing(left: Sequence[Hit], right: Sequence[Hit]) -> str:
    """How two rankings of the same query differ; "" when only ties are ordered differently."""
    if len(left) != len(right):
        return f"{len(left)} hits here, {len(right)} there"
    if not left:
        return ""
    slack = TOLERANCE * max(1.0, abs(left[0].score))
    for one, other in zip(left, right, strict=True):
        if abs(one.score - other.score) > slack:
            return f"rank {one.rank} scores {one.score:.6f} here, {other.score:.6f} there"
    # Of the points tied with the last one, either side may have taken others.
    certain = left[-1].score + slack if len(left) == TOP_K else float("-inf")
    there = {hit.id for hit in right}
    lost = [hit.id for hit in left if hit.score > certain and hit.id not in there]
    return f"{lost[0]} is found here only" if lost else ""
