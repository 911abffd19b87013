"""The engine process and its clients: many at once, rebuilds underneath, and leaving."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import CollectionSpec, drop_collection, open_collection
from indexing.collection.address import answers, read_address, try_lock
from indexing.collection.connection import Connection
from indexing.collection.layout import layout_of
from indexing.errors import (
    CollectionError,
    CollectionUnavailableError,
    FilterError,
    FingerprintMismatchError,
    InputError,
    QueryError,
    VectorError,
)
from indexing.records import Embedding, Point, SparseVector
from tests.fakes.points import DIMENSIONS, SPEC, embedding, point, point_id, settings_in

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import asyncio, sys
from pathlib import Path
import numpy as np
from indexing.collection import open_collection
from tests.fakes.points import SPEC, point, settings_in
async def run(folder, first):
    rng = np.random.default_rng(first)
    collection = await open_collection(settings_in(Path(folder)), SPEC)
    for start in range(first, first + 200, 20):
        await collection.upsert([point(number, rng) for number in range(start, start + 20)])
        assert await collection.count(tenant="default") >= start + 20 - first
    await collection.close()
asyncio.run(run(sys.argv[1], int(sys.argv[2])))
"""


def test_several_processes_share_one_engine(tmp_path: Path) -> None:
    """Four processes start at once with no engine running: one engine serves them all."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(first)], cwd=ROOT)
        for first in range(0, 800, 200)
    ]
    try:
        assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
    settings = settings_in(tmp_path)

    async def run() -> None:
        collection = await open_collection(settings, None)
        assert await collection.count(tenant="default") == 800
        await collection.close()
        log = layout_of(settings).log.read_text()
        assert log.count("shard 000001 open: 0 points") <= 1
        await drop_collection(settings)

    asyncio.run(run())


def test_queries_are_answered_while_the_graph_is_built(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    rng = np.random.default_rng(17)
    queries = [embedding(rng) for _ in range(5)]

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        await collection.upsert([point(number, rng) for number in range(3000)])

        async def answers_now() -> list[list[tuple[str, float]]]:
            found = [
                await collection.search(query, tenant="default", top_k=20, exact=True) for query in queries
            ]
            return [[(hit.id, round(hit.score, 4)) for hit in (*one.dense, *one.sparse)] for one in found]

        before = await answers_now()
        build = asyncio.create_task(collection.optimize(wait=True))
        served, ticks = 0, 0

        async def heartbeat() -> None:
            nonlocal ticks
            while not build.done():
                ticks += 1
                await asyncio.sleep(0.005)

        beating = asyncio.create_task(heartbeat())
        written = 3000
        while not build.done():
            assert await answers_now() == before
            served += 1
            # Far from the queries' terms and never nearest: a tenant of its own.
            await collection.upsert([point(written, rng, tenant="other")])
            written += 1
        assert await build is True
        await beating
        assert served > 1
        assert ticks > served
        assert await answers_now() == before
        info = await collection.info()
        assert (info.points, info.optimizing, info.home) == (written, False, "embedded")
        assert 3000 <= info.indexed_points <= written
        assert layout_of(settings).pointer.read_text() == "000002\n"
        approximate = await collection.search(queries[0], tenant="default", top_k=10)
        assert len(approximate.dense) == 10
        assert await collection.count(tenant="other") == written - 3000
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_a_build_starts_by_itself_and_there_is_nothing_to_do_twice(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, optimize_after=500)
    rng = np.random.default_rng(19)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        assert not await collection.optimize(wait=True)
        await collection.upsert([point(number, rng) for number in range(600)])
        deadline = time.monotonic() + 30
        while (info := await collection.info()).indexed_points < 600 or info.optimizing:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert not await collection.optimize(wait=True)
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_the_engine_leaves_and_comes_back(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, idle_exit_s=0.2)
    layout = layout_of(settings)
    rng = np.random.default_rng(23)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        await collection.upsert([point(1, rng)])
        await collection.close()
        deadline = time.monotonic() + 20
        while (descriptor := try_lock(layout)) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert read_address(layout) is None
        assert not answers(layout)
        os.close(descriptor)
        again = await open_collection(settings, None)
        assert await again.count(tenant="default") == 1
        await again.close()
        await drop_collection(settings)
        assert not layout.folder.exists()

    asyncio.run(run())


def test_errors_cross_the_socket(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    layout = layout_of(settings)
    rng = np.random.default_rng(29)

    async def run() -> None:
        with pytest.raises(CollectionError, match="python -m indexing PATH"):
            await open_collection(settings, None)
        collection = await open_collection(settings, SPEC)
        other = CollectionSpec(DIMENSIONS, "dense-b", "sparse-a", sparse_idf=True)
        with pytest.raises(FingerprintMismatchError, match=r"dense-a.*dense-b.*python -m indexing reindex"):
            await open_collection(settings, other)
        with pytest.raises(FilterError, match=r"metadata\.year"):
            await collection.facet("metadata.year", tenant="default")
        with pytest.raises(QueryError):
            await collection.search(embedding(rng), tenant="default", top_k=0)
        address = read_address(layout)
        assert address is not None
        raw = await Connection.open(address)
        bad = [point_id(1), [None, b"\1\0\0\0\2\0\0\0", b"\0\0\x80?"], {"tenant": "a", "doc_id": "b"}]
        with pytest.raises(VectorError, match="2 indices and 1 values"):
            await raw.request("upsert", [[bad]])
        with pytest.raises(InputError, match="malformed"):
            await raw.request("search", [1, 2])
        with pytest.raises(InputError, match="nonsense"):
            await raw.request("nonsense", [])
        assert await collection.count(tenant="default") == 0
        # Someone who does not speak the protocol is cut off; the others do not notice.
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(address)
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(10)
            while stranger.recv(1000):
                pass
        assert await raw.request("count", [None, None]) == 0
        await raw.close()
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_a_client_notices_that_the_collection_was_replaced(tmp_path: Path) -> None:
    """A service that runs on must not search vectors of other encoders with its own."""
    settings = settings_in(tmp_path)
    rng = np.random.default_rng(37)

    async def run() -> None:
        service = await open_collection(settings, SPEC)
        await service.upsert([point(1, rng)])
        await drop_collection(settings)
        with pytest.raises(CollectionError, match="python -m indexing PATH"):
            await service.count(tenant="default")
        other = CollectionSpec(DIMENSIONS, "dense-b", "sparse-a", sparse_idf=True)
        fresh = await open_collection(settings, other)
        assert await fresh.count(tenant="default") == 0
        with pytest.raises(FingerprintMismatchError, match="python -m indexing reindex"):
            await service.search(embedding(rng), tenant="default", top_k=3)
        await service.close()
        await fresh.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_one_bad_point_stops_the_whole_batch(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    rng = np.random.default_rng(31)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        bad = Point(point_id(9), Embedding(None, SparseVector((2, 1), (1.0, 1.0))), point(9, rng).payload)
        with pytest.raises(VectorError):
            await collection.upsert([point(1, rng), bad])
        assert await collection.count(tenant="default") == 0
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / ("long-" * 20))
    layout = layout_of(settings)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        address = read_address(layout)
        assert address is not None
        assert len(address) <= 100
        folder = Path(address).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        await collection.close()
        await drop_collection(settings)
        assert not folder.exists()

    asyncio.run(run())


def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    layout = layout_of(settings)

    async def run() -> None:
        layout.folder.mkdir(parents=True)
        layout.description.write_text(
            '{"format": 1, "spec": {"dimensions": 16, "dense_fingerprint": "dense-a", '
            '"sparse_fingerprint": "sparse-a", "sparse_idf": true, "point_ids": 2}, "parameters": {}}'
        )
        layout.shards.write_text("not a folder")
        with pytest.raises(CollectionUnavailableError, match=r"engine\.log"):
            await open_collection(settings, SPEC)

    asyncio.run(run())
