"""Stored token vectors: the same in every home, as numpy says, kept through every rewrite of a shard."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import Collection, drop_collection, open_collection, wire
from indexing.collection.layout import EngineParameters, layout_of, read_description, write_description
from indexing.collection.operations import POINTS_PER_CALL, POINTS_WITH_TOKENS_PER_CALL, steps
from indexing.collection.protocol import CollectionSpec, check_spec
from indexing.collection.repair import repair
from indexing.collection.validation import check_points
from indexing.errors import CollectionError, FingerprintMismatchError, VectorError
from indexing.records import Embedding, Point, SparseVector, TokenVectors
from tests.fakes.points import (
    SPEC,
    TOKEN_DIMENSIONS,
    TOKEN_SPEC,
    embedding,
    point,
    point_id,
    settings_in,
    token_vectors,
)
from tests.indexing.test_collection_crash import lock_holder

# Least precision of a cosine: 8 bits a number and half precision on the socket.
TOLERANCE = {"8bit": 0.02, "16bit": 1e-3}
POINTS = 60


def made(number: int, rng: np.random.Generator) -> Point:
    """A point of one of two tenants; every fifth is one that the model cannot read."""
    plain = point(number, rng, tenant="acme" if number % 7 == 0 else "default")
    tokens = None if number % 5 == 0 else token_vectors(rng)
    return replace(plain, embedding=replace(plain.embedding, tokens=tokens))


def expected(points: list[Point], query: np.ndarray, tenant: str) -> tuple[np.ndarray, np.ndarray]:
    """Best cosines and pooled vectors in numpy, NaN where the tenant has nothing to compare."""
    best = np.full((len(points), len(query)), np.nan, dtype=np.float32)
    pooled = np.full((len(points), TOKEN_SPEC.pooled_dimensions), np.nan, dtype=np.float32)
    for place, one in enumerate(points):
        tokens = one.embedding.tokens
        if tokens is not None and one.payload["tenant"] == tenant:
            best[place] = (tokens.tokens @ query.T).max(axis=0)
            pooled[place] = tokens.pooled
    return best, pooled


async def agrees(collection: Collection, points: list[Point], rng: np.random.Generator, atol: float) -> None:
    """Compare with numpy for both tenants, unknown ids among the asked."""
    query = token_vectors(rng).tokens
    asked = [*points, made(999, rng)]
    for tenant in ("default", "acme", "nobody"):
        found = await collection.token_matches(query, [one.id for one in asked], tenant=tenant)
        best, pooled = expected(points, query, tenant)
        assert np.isnan(found.best[-1]).all()
        np.testing.assert_allclose(found.best[:-1], best, atol=atol)
        np.testing.assert_allclose(found.pooled[:-1], pooled, atol=5e-3)
    nothing = await collection.token_matches(query, [], tenant="default")
    assert nothing.best.shape == (0, len(query))


async def same_stored(collection: Collection, points: list[Point], atol: float) -> None:
    by_id = {one.id: one for one in points}
    rows = [row async for batch in collection.scroll(tenant=None, with_vectors=True) for row in batch]
    assert sorted(row.id for row in rows) == sorted(by_id)
    for row in rows:
        old, new = by_id[row.id].embedding.tokens, row.embedding.tokens
        assert (old is None) == (new is None)
        if old is not None:
            np.testing.assert_allclose(new.tokens, old.tokens, atol=atol)
            np.testing.assert_allclose(new.pooled, old.pooled, atol=5e-3)


def server_home() -> list[str]:
    return ["server"] if os.environ.get("WINNOW_TEST_QDRANT_URL") else []


@pytest.mark.parametrize(
    ("home", "kept"),
    [("memory", "16bit"), ("embedded", "8bit"), ("embedded", "16bit")]
    + [(home, "8bit") for home in server_home()],
)
def test_the_engine_finds_what_numpy_finds(
    tmp_path: Path, home: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.collection.embedded._IDS_PER_MATCH", 25)  # fewer than are asked for
    rng = np.random.default_rng(21)
    atol = TOLERANCE[kept]

    async def run() -> None:
        settings = settings_in(tmp_path, home=home, tokens_format=kept)
        collection = await open_collection(settings, TOKEN_SPEC)
        points = [made(number, rng) for number in range(POINTS)]
        await collection.upsert(points)
        await agrees(collection, points, rng, atol)
        await same_stored(collection, points, atol)
        # A re-weighing, to nothing for some, leaves the tokens alone; so does replacing a point.
        empty = SparseVector((), ())
        await collection.update_sparse(
            {one.id: embedding(rng).sparse if n % 2 else empty for n, one in enumerate(points)}
        )
        points[3] = made(3, rng)
        await collection.upsert([points[3]])
        await same_stored(collection, points, atol)
        await collection.delete([points[4].id])
        gone = points.pop(4)
        found = await collection.token_matches(token_vectors(rng).tokens, [gone.id], tenant="default")
        assert np.isnan(found.best).all()
        if home == "embedded":
            build = asyncio.create_task(collection.optimize(wait=True))
            await asyncio.sleep(0.05)
            late = [made(number, rng) for number in range(POINTS, POINTS + 20)]
            await collection.upsert(late)  # replayed on the new shard from the journal
            points.extend(late)
            assert await build
            await agrees(collection, points, rng, atol)
            info = await collection.info()
            assert info.token_bytes
            assert info.indexed_points >= info.points - len(late)
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_written_again_nothing_drifts(tmp_path: Path) -> None:
    """What is read and written back, as a renamed source does, comes out the same to the bit."""
    rng = np.random.default_rng(22)

    async def run() -> None:
        settings = settings_in(tmp_path)
        collection = await open_collection(settings, TOKEN_SPEC)
        await collection.upsert([made(number, rng) for number in range(20)])
        ids = [point_id(number) for number in range(20)]
        first = await collection.retrieve(ids, tenant="default", with_vectors=True)
        for _ in range(3):
            rows = await collection.retrieve(ids, tenant="default", with_vectors=True)
            await collection.upsert([Point(row.id, row.embedding, row.payload) for row in rows])
        last = await collection.retrieve(ids, tenant="default", with_vectors=True)
        drift = [
            np.abs(old.embedding.tokens.tokens - new.embedding.tokens.tokens).max()
            for old, new in zip(first, last, strict=True)
            if old.embedding.tokens is not None
        ]
        assert len(drift) > 5
        assert max(drift) < 2e-3  # half precision may move a number to the next of 256 steps once
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_killed_and_repaired_it_keeps_its_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(23)
    settings = settings_in(tmp_path)
    points = [made(number, rng) for number in range(POINTS)]

    async def run() -> None:
        collection = await open_collection(settings, TOKEN_SPEC)
        for start in range(0, POINTS, 20):
            await collection.upsert(points[start : start + 20])
            os.kill(lock_holder(layout_of(settings)), signal.SIGKILL)
            await agrees(collection, points[: start + 20], rng, TOLERANCE["8bit"])
        await collection.close()
        report = await repair(settings)
        assert not report.damaged
        (config,) = layout_of(settings).shards.glob("[0-9]*/edge_config.json")
        config.write_text("{")
        report = await repair(settings)
        assert report.damaged
        assert report.recovered == POINTS
        collection = await open_collection(settings, TOKEN_SPEC)
        await agrees(collection, points, rng, TOLERANCE["8bit"])
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_other_token_vectors_are_refused_with_the_command(tmp_path: Path) -> None:
    for found, wanted in (
        (SPEC, TOKEN_SPEC),
        (TOKEN_SPEC, SPEC),
        (TOKEN_SPEC, replace(TOKEN_SPEC, token_fingerprint="tokens-b")),
    ):
        with pytest.raises(FingerprintMismatchError, match=r"late_interaction.*python -m indexing reindex"):
            check_spec(found, wanted)
    check_spec(TOKEN_SPEC, TOKEN_SPEC)


def test_a_collection_without_them_says_how_to_get_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(24)

    async def run() -> None:
        for home in ("memory", "embedded"):
            settings = settings_in(tmp_path, home=home)
            collection = await open_collection(settings, SPEC)
            with pytest.raises(CollectionError, match="python -m indexing reindex"):
                await collection.token_matches(token_vectors(rng).tokens, [point_id(1)], tenant="default")
            with pytest.raises(VectorError, match="stores no token vectors"):
                await collection.upsert([made(1, rng)])
            assert (await collection.info()).token_bytes is None
            await collection.close()
            await drop_collection(settings)

    asyncio.run(run())


def test_a_description_from_before_is_read(tmp_path: Path) -> None:
    layout = layout_of(settings_in(tmp_path))
    write_description(layout, SPEC, EngineParameters())
    body = json.loads(layout.description.read_text())
    for name in ("token_fingerprint", "token_dimensions", "pooled_dimensions"):
        del body["spec"][name]
    del body["parameters"]["tokens_format"]
    layout.description.write_text(json.dumps(body))
    assert read_description(layout) == (SPEC, EngineParameters())
    assert CollectionSpec(**asdict(TOKEN_SPEC)) == TOKEN_SPEC


def with_tokens(tokens: object, pooled: object = None) -> Point:
    pooled = np.ones(8, dtype=np.float32) if pooled is None else pooled
    return Point(point_id(1), Embedding(None, SparseVector((), ()), TokenVectors(tokens, pooled)), {
        "tenant": "default", "doc_id": "a"})  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        with_tokens(np.ones((2, TOKEN_DIMENSIONS))),
        with_tokens(np.ones((2, TOKEN_DIMENSIONS - 1), dtype=np.float32)),
        with_tokens(np.ones((0, TOKEN_DIMENSIONS), dtype=np.float32)),
        with_tokens(np.ones(TOKEN_DIMENSIONS, dtype=np.float32)),
        with_tokens(np.zeros((2, TOKEN_DIMENSIONS), dtype=np.float32)),
        with_tokens(np.full((2, TOKEN_DIMENSIONS), np.nan, dtype=np.float32)),
        with_tokens(np.ones((2**20, TOKEN_DIMENSIONS), dtype=np.float32)),
        with_tokens(np.ones((1, TOKEN_DIMENSIONS), dtype=np.float32), np.ones(7, dtype=np.float32)),
        with_tokens(np.ones((1, TOKEN_DIMENSIONS), dtype=np.float32), np.full(8, 7e4, dtype=np.float32)),
        with_tokens(np.ones((1, TOKEN_DIMENSIONS), dtype=np.float32), np.full(8, np.nan, dtype=np.float32)),
    ],
    ids=["float64", "narrow", "none", "flat", "zeros", "nan", "many", "pooled shape", "large", "pooled nan"],
)
def test_bad_token_vectors_are_refused(bad: Point) -> None:
    check_points([with_tokens(np.ones((2, TOKEN_DIMENSIONS), dtype=np.float32))], TOKEN_SPEC)
    with pytest.raises(VectorError):
        check_points([bad], TOKEN_SPEC)


def test_a_missing_pooled_vector_is_refused() -> None:
    rng = np.random.default_rng(25)
    tokens = replace(token_vectors(rng), pooled=None)
    plain = point(1, rng)
    alone = replace(plain, embedding=replace(plain.embedding, tokens=tokens))
    check_points([alone], replace(TOKEN_SPEC, pooled_dimensions=0))
    with pytest.raises(VectorError, match="pooled"):
        check_points([alone], TOKEN_SPEC)


def test_the_wire_carries_them_in_half_precision_and_nothing_where_there_are_none() -> None:
    rng = np.random.default_rng(26)
    plain = point(1, rng)
    assert len(wire.embedding_to_wire(plain.embedding)) == 3
    full = replace(plain.embedding, tokens=token_vectors(rng))
    body = wire.embedding_to_wire(full)
    assert len(body[3][1]) == 2 * full.tokens.tokens.size
    back = wire.embedding_from_wire(wire.unpack(wire.pack(body)))
    np.testing.assert_allclose(back.tokens.tokens, full.tokens.tokens, atol=1e-3)
    np.testing.assert_allclose(back.tokens.pooled, full.tokens.pooled, atol=5e-3)
    np.testing.assert_array_equal(back.dense, full.dense)


def test_a_large_write_lets_searches_in_between() -> None:
    rng = np.random.default_rng(27)
    plain = [wire.point_to_wire(point(number, rng)) for number in range(300)]
    heavy = [wire.point_to_wire(made(number, rng)) for number in range(300)]
    assert next(len(rows) for (rows,) in steps("upsert", [plain])) == POINTS_PER_CALL
    sizes = [len(rows) for (rows,) in steps("upsert", [heavy])]
    assert max(sizes) == POINTS_WITH_TOKENS_PER_CALL
    assert sum(sizes) == 300
