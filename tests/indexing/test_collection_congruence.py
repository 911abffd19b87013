"""The same random operations against every home give the same results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from indexing.collection import Collection, drop_collection, open_collection, parse_filter
from indexing.records import Embedding, Hit, Mode, SparseVector
from indexing.settings import Settings
from tests.fakes.points import SPEC, embedding, point, point_id, settings_in
from tests.fakes.qdrant_server import QdrantServer

TENANTS = ("default", "acme", "zoé")
FILTERS: list[Mapping[str, object] | None] = [
    None,
    {"doc_id": "doc-001"},
    {"doc_id": ["doc-001", "doc-002", "nowhere"]},
    {"section": {"prefix": "Report 1"}},
    {"section": "Report 1 > Part 2"},
    {"source": {"prefix": "file:///data/1"}},
    {"page": {"gte": 2, "lt": 5}},
    {"page": 3},
    {"page": [1, 2.0, 2.5]},
    {"page": 2.5},
    {"ordinal": {"not": [0, 1]}},
    {"version": {"not": "v1"}},
    {"year": 2003},
    {"year": 2000.0},
    {"year": {"gt": 2001, "lte": 2004}},
    {"metadata.draft": True},
    {"draft": False},
    {"draft": {"not": True}},
    {"draft": 1},
    {"fiscal kind": "kind 1"},
    {"fiscal kind": {"prefix": "kind"}},
    {"ratio": [0.5, "x", True]},
    {"absent": 1},
    {"absent": {"not": 1}},
    {"year": {"gte": 2001}, "draft": True, "section": {"prefix": "Report"}},
]


def same_hits(left: list[Hit], right: list[Hit], top_k: int, where: object) -> None:
    """Equal up to float error, and up to which of the points tied at the cut were taken."""
    assert len(left) == len(right), where
    assert [hit.rank for hit in left] == list(range(1, len(left) + 1)), where
    np.testing.assert_allclose(
        [hit.score for hit in left], [hit.score for hit in right], rtol=2e-5, atol=2e-6, err_msg=str(where)
    )
    if not left:
        return
    cut = left[-1].score + 1e-5 if len(left) == top_k else -np.inf
    by_id = {hit.id: hit for hit in right}
    for hit in left:
        if hit.score > cut:
            assert hit.id in by_id, (where, hit)
            assert dict(by_id[hit.id].payload) == dict(hit.payload), where


async def everything(collection: Collection, tenant: str | None, raw: object = None) -> dict[str, object]:
    found: dict[str, object] = {}
    async for batch in collection.scroll(tenant=tenant, filter=parse_filter(raw), batch=7, with_vectors=True):
        for row in batch:
            assert row.id not in found
            found[row.id] = row
    return found


async def mutate(rng: np.random.Generator, homes: list[Collection], state: dict[int, str]) -> None:
    """One random write, the same to every home."""
    kind = rng.choice(["upsert", "upsert", "upsert", "update", "delete", "document", "version"])
    if kind == "upsert":
        numbers = [int(value) for value in rng.integers(0, 150, int(rng.integers(1, 25)))]
        numbers = list(dict.fromkeys(numbers))
        points = []
        for number in numbers:
            tenant = state.setdefault(number, str(rng.choice(TENANTS)))
            terms = int(rng.integers(0, 7))
            made = point(number, rng, tenant=tenant, dense=bool(rng.random() < 0.8))
            points.append(
                type(made)(
                    made.id, embedding(rng, dense=made.embedding.dense is not None, terms=terms), made.payload
                )
            )
        for home in homes:
            await home.upsert(points)
        return
    numbers = [int(value) for value in rng.choice(150, 5, replace=False)]
    ids = [point_id(number) for number in numbers]
    if kind == "update":
        vectors = {key: embedding(rng, terms=int(rng.integers(0, 6))).sparse for key in ids}
        for home in homes:
            await home.update_sparse(vectors)
    elif kind == "delete":
        for home in homes:
            await home.delete(ids)
    else:
        keep = "v1" if kind == "version" else None
        tenant = str(rng.choice(TENANTS))
        for home in homes:
            await home.delete_document(tenant, f"doc-{numbers[0] // 5:03d}", keep_version=keep)


async def compare(rng: np.random.Generator, left: Collection, right: Collection) -> None:
    """Everything a reader can ask, asked of both."""
    for raw in FILTERS:
        tenant = str(rng.choice(TENANTS))
        wanted = parse_filter(raw)
        where = (raw, tenant)
        counts = [await home.count(tenant=tenant, filter=wanted) for home in (left, right)]
        assert counts[0] == counts[1], where
        query = embedding(rng, dense=bool(rng.random() < 0.9))
        mode: Mode = ["hybrid", "dense", "sparse"][int(rng.integers(0, 3))]
        top_k = int(rng.integers(1, 40))
        found = [
            await home.search(query, tenant=tenant, top_k=top_k, mode=mode, filter=wanted, exact=True)
            for home in (left, right)
        ]
        same_hits(list(found[0].dense), list(found[1].dense), top_k, where)
        same_hits(list(found[0].sparse), list(found[1].sparse), top_k, where)
        assert {hit.payload["tenant"] for hit in (*found[0].dense, *found[0].sparse)} <= {tenant}
        for home, sides in zip((left, right), found, strict=True):
            bare = await home.search(
                query, tenant=tenant, top_k=top_k, mode=mode, filter=wanted, exact=True, with_payload=False
            )
            for side, full in ((bare.dense, sides.dense), (bare.sparse, sides.sparse)):
                same_hits(list(side), [hit._replace(payload={}) for hit in full], top_k, where)
            if sides.without_dense is not None:
                ids = [hit.id for hit in sides.sparse]
                rows = await home.retrieve(ids, tenant=tenant, with_vectors=True)
                assert sides.without_dense == {row.id for row in rows if row.embedding.dense is None}, where
        for key in ("doc_id", "section", "page", "version"):
            facets = [await home.facet(key, tenant=tenant, filter=wanted, limit=8) for home in (left, right)]
            assert facets[0] == facets[1], (where, key)
    rows = [await everything(home, None) for home in (left, right)]
    assert list(rows[0]) == list(rows[1]) == sorted(rows[0])
    for key, row in rows[0].items():
        other = rows[1][key]
        assert row.payload == other.payload
        same_embedding(row.embedding, other.embedding)
    ids = [point_id(number) for number in range(0, 150, 7)][::-1]
    picked = [await home.retrieve(ids, tenant="acme") for home in (left, right)]
    assert [row.id for row in picked[0]] == [row.id for row in picked[1]]
    assert [row.id for row in picked[0]] == [key for key in ids if key in {row.id for row in picked[0]}]


def same_embedding(left: Embedding, right: Embedding) -> None:
    assert left.sparse.indices == right.sparse.indices
    np.testing.assert_allclose(left.sparse.values, right.sparse.values, rtol=1e-6)
    assert (left.dense is None) == (right.dense is None)
    if left.dense is not None:
        # Both homes normalise for cosine; in float32 the last bit may differ.
        np.testing.assert_allclose(left.dense, right.dense, atol=1e-6)


def server_home() -> list[str]:
    return ["server"] if os.environ.get("WINNOW_TEST_QDRANT_URL") else []


@contextmanager
def settings_of(home: str, folder: Path) -> Iterator[Settings]:
    """A home's settings; "rest" is the server home over HTTP against the protocol's fake."""
    name = f"test-{uuid4()}"
    if home == "rest":
        with QdrantServer() as server:
            yield settings_in(folder, home="server", name=name, url=server.url, prefer_grpc=False)
    else:
        url = os.environ.get("WINNOW_TEST_QDRANT_URL", "http://127.0.0.1:6333")
        yield settings_in(folder, home=home, name=name, url=url)


@pytest.mark.parametrize("home", ["embedded", "rest", *server_home()])
@pytest.mark.parametrize("seed", [1, 2])
def test_homes_agree(tmp_path: Path, home: str, seed: int) -> None:
    rng = np.random.default_rng(seed)

    async def run(settings: Settings) -> None:
        tested = await open_collection(settings, SPEC)
        memory = await open_collection(settings_in(tmp_path, home="memory"), SPEC)
        state: dict[int, str] = {}
        try:
            for round_number in range(3):
                for _ in range(12):
                    await mutate(rng, [memory, tested], state)
                await compare(rng, memory, tested)
                if home == "embedded" and round_number == 1:
                    await tested.optimize(wait=True)
                    await compare(rng, memory, tested)
        finally:
            await memory.close()
            await tested.close()
            await drop_collection(settings)

    with settings_of(home, tmp_path) as settings:
        asyncio.run(run(settings))


def test_one_tenant_alone_and_then_two(tmp_path: Path) -> None:
    """IDF is the tenant's own, whether or not other tenants share the collection."""
    rng = np.random.default_rng(3)
    query = Embedding(None, SparseVector((3, 5, 7), (1.0, 1.0, 1.0)))

    async def run() -> None:
        settings = settings_in(tmp_path)
        tested = await open_collection(settings, SPEC)
        await tested.upsert([point(number, rng) for number in range(60)])
        alone = await tested.search(query, tenant="default", top_k=20)
        await tested.upsert([point(number, rng, tenant="acme") for number in range(100, 180)])
        shared = await tested.search(query, tenant="default", top_k=20)
        assert [(hit.id, hit.score) for hit in alone.sparse] == [(hit.id, hit.score) for hit in shared.sparse]
        assert alone.sparse
        assert not alone.dense
        assert await tested.count(tenant="nobody") == 0
        assert await tested.retrieve([point_id(1)], tenant="acme") == []
        await tested.close()
        await drop_collection(settings)

    asyncio.run(run())
