"""The stream and the comparison of a push, between a real engine and the protocol's fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import Collection, open_collection
from indexing.errors import CollectionUnavailableError, MismatchError
from indexing.records import Hit, Point
from indexing.transfer.compare import TOP_K, compare, differing
from indexing.transfer.cursor import Cursor, read_cursor
from indexing.transfer.patience import Patience
from indexing.transfer.stream import Pace, copy_points, delete_surplus
from tests.fakes.points import TOKEN_SPEC, point, point_id, settings_in, token_vectors
from tests.fakes.qdrant_server import QdrantServer

PACE = Pace(batch=10, concurrency=3, patience=Patience(3, 0.01))
TENANTS = ("default", "acme")


def points(count: int) -> list[Point]:
    """Points of two tenants; some lack a dense vector, sparse terms, or token vectors."""
    rng = np.random.default_rng(11)
    made = []
    for number in range(count):
        one = point(number, rng, tenant=TENANTS[number % 2], dense=number % 5 > 0)
        tokens = token_vectors(rng) if number % 3 else None
        made.append(replace(one, embedding=replace(one.embedding, tokens=tokens)))
    return made


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[Collection, Collection]]:
    with QdrantServer() as server:
        source = await open_collection(settings_in(folder), TOKEN_SPEC)
        there = settings_in(folder, home="server", url=server.url, prefer_grpc=False)
        target = await open_collection(there, TOKEN_SPEC)
        try:
            yield source, target
        finally:
            await target.close()
            await source.close()


def test_every_vector_arrives_and_what_is_surplus_goes(tmp_path: Path) -> None:
    async def run() -> None:
        async with both(tmp_path) as (source, target):
            await source.upsert(points(90))
            await target.upsert(points(100)[85:])
            cursor = Cursor(tmp_path / "cursor.json", "state")
            acknowledged: list[int] = []
            assert await copy_points(source, target, cursor, PACE, acknowledged.append) == 90
            assert acknowledged == [10] * 9
            assert read_cursor(cursor.path) == replace(cursor, complete=True)
            assert await delete_surplus(source, target) == 10
            same = await compare(source, target, TENANTS, queries=25, seed=1, patience=PACE.patience)
            assert (same.points, same.tenants) == (90, {"default": 45, "acme": 45})
            turned = points(90)[7]
            tokens = replace(turned.embedding.tokens, tokens=-turned.embedding.tokens.tokens)
            await target.upsert([replace(turned, embedding=replace(turned.embedding, tokens=tokens))])
            with pytest.raises(MismatchError, match=f"{point_id(7)} has other vectors"):
                await compare(source, target, TENANTS, queries=600, seed=1, patience=PACE.patience)

    asyncio.run(run())


def hits(*scores: float, first: int = 0) -> list[Hit]:
    return [Hit(str(first + at), score, at + 1, {}) for at, score in enumerate(scores)]


def test_ties_may_be_ordered_and_cut_differently() -> None:
    assert differing(hits(0.9, 0.5, 0.5), hits(0.9, 0.5, 0.5)) == ""
    swapped = [Hit("1", 0.5, 1, {}), Hit("0", 0.5, 2, {})]
    assert differing(hits(0.5, 0.5), swapped) == ""
    full = [1.0 - at / 100 for at in range(TOP_K - 1)]
    assert differing(hits(*full, 0.3), [*hits(*full), Hit("other", 0.3, TOP_K, {})]) == ""
    assert "found here only" in differing(hits(0.9, 0.5), [Hit("0", 0.9, 1, {}), Hit("other", 0.5, 2, {})])
    assert "rank 2" in differing(hits(0.9, 0.5), hits(0.9, 0.4))
    assert "1 hits here, 2 there" in differing(hits(0.9), hits(0.9, 0.5))


@pytest.mark.parametrize(("failures", "ends"), [(2, True), (3, False)])
def test_patience_has_an_end(failures: int, ends: bool) -> None:
    left = failures

    async def call() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise CollectionUnavailableError("away")
        return "answered"

    def run(what: Callable[[], Awaitable[str]]) -> str:
        return asyncio.run(Patience(3, 0.001).call(what))

    if ends:
        assert run(call) == "answered"
    else:
        with pytest.raises(CollectionUnavailableError):
            run(call)


def test_a_cursor_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    assert read_cursor(path) is None
    for body in ("", "[]", '{"state": "x"}', '{"state": "x", "last": "", "sent": "?", "complete": false}'):
        path.write_text(body)
        assert read_cursor(path) is None
