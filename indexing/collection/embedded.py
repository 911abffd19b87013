"""The embedded home: a client of the engine process on this machine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.collection import wire
from indexing.collection.connection import Connection
from indexing.collection.engine_control import drop
from indexing.collection.filters import Filter
from indexing.collection.launch import connect
from indexing.collection.layout import (
    EngineParameters,
    Layout,
    layout_of,
    read_description,
    write_description,
)
from indexing.collection.protocol import (
    CollectionInfo,
    CollectionSpec,
    StoredPoint,
    TokenMatches,
    check_spec,
)
from indexing.collection.validation import (
    check_embedding,
    check_facet,
    check_ids,
    check_points,
    check_rows,
    check_sparse,
    check_stores_tokens,
    check_top_k,
)
from indexing.errors import CollectionUnavailableError, ConnectionLostError
from indexing.records import Embedding, FloatArray, Mode, Point, SideHits, SparseVector
from indexing.settings import CollectionSettings, Settings

_POINTS_PER_REQUEST = 512
# A sentence of 256 tokens with 384 numbers each is 200 kB; a frame has 128 MB at most.
_POINTS_WITH_TOKENS_PER_REQUEST = 128
_IDS_PER_REQUEST = 10_000
_IDS_PER_MATCH = 500  # compared with ten query tokens in about 6 ms: other searches wait no longer
_ATTEMPTS = 3
_SLOW_S = 600.0  # a write may wait while a shard is copied


class EmbeddedCollection:
    """The ``Collection`` protocol over the engine's socket; one event loop, any number of tasks.

    Every operation is idempotent, so a request that got no answer because the
    engine was killed is sent again to its successor.
    """

    def __init__(self, layout: Layout, spec: CollectionSpec, settings: CollectionSettings) -> None:
        self._layout = layout
        self.spec = spec
        self._settings = settings
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Reach the engine now rather than at the first request."""
        await self._reach()

    async def _reach(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        async with self._connecting:
            if self._connection is not None:
                if self._connection.alive:
                    return self._connection
                await self._connection.close()
            # It may have been dropped, or built anew by other encoders, since the last connection.
            found, _ = read_description(self._layout)
            check_spec(found, self.spec)
            self._connection = await connect(
                self._layout,
                idle_exit_s=self._settings.idle_exit_s,
                optimize_after=self._settings.optimize_after,
                timeout_s=self._settings.timeout_s,
            )
            return self._connection

    async def _call(self, name: str, arguments: list[Any], timeout_s: float | None = None) -> Any:
        limit = self._settings.timeout_s if timeout_s is None else timeout_s
        attempt = 1
        while True:
            connection = await self._reach()
            try:
                async with asyncio.timeout(None if limit == math.inf else limit):
                    return await connection.request(name, arguments)
            except TimeoutError as error:
                raise CollectionUnavailableError(
                    f"the engine process did not answer {name!r} within {limit:g} s"
                ) from error
            except ConnectionLostError:
                attempt += 1
                if attempt > _ATTEMPTS:
                    raise

    @property
    def _points_per_request(self) -> int:
        """Of those that travel with their vectors."""
        return _POINTS_WITH_TOKENS_PER_REQUEST if self.spec.token_dimensions else _POINTS_PER_REQUEST

    # ── writes ────────────────────────────────────────────────────────────

    async def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self.spec)
        most = self._points_per_request
        for start in range(0, len(points), most):
            rows = [wire.point_to_wire(point) for point in points[start : start + most]]
            await self._call("upsert", [rows], _SLOW_S)

    async def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        check_ids(vectors)
        for key, vector in vectors.items():
            check_sparse(vector, key)
        rows = [[key, wire.sparse_to_wire(vector)] for key, vector in vectors.items()]
        for start in range(0, len(rows), _POINTS_PER_REQUEST):
            await self._call("update_sparse", [rows[start : start + _POINTS_PER_REQUEST]], _SLOW_S)

    async def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        for start in range(0, len(ids), _IDS_PER_REQUEST):
            await self._call("delete", [list(ids[start : start + _IDS_PER_REQUEST])], _SLOW_S)

    async def delete_document(self, tenant: str, doc_id: str, *, keep_version: str | None = None) -> None:
        await self._call("delete_document", [tenant, doc_id, keep_version], _SLOW_S)

    # ── reads ─────────────────────────────────────────────────────────────

    async def search(
        self,
        query: Embedding,
        *,
        tenant: str,
        top_k: int,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        exact: bool = False,
        with_payload: bool = True,
    ) -> SideHits:
        check_embedding(query, self.spec.dimensions, "query")
        check_top_k(top_k)
        body = await self._call(
            "search",
            [
                wire.embedding_to_wire(query),
                tenant,
                top_k,
                mode,
                wire.filter_to_wire(filter),
                exact,
                [self._settings.hnsw_ef, self._settings.acorn_selectivity],
                with_payload,
            ],
        )
        return wire.sides_from_wire(body)

    async def token_matches(self, tokens: FloatArray, ids: Sequence[str], *, tenant: str) -> TokenMatches:
        check_stores_tokens(self.spec)
        check_rows(tokens, self.spec.token_dimensions, "query")
        check_ids(ids)
        rows = wire.rows_to_wire(tokens)
        parts = [
            wire.matches_from_wire(
                await self._call("token_matches", [rows, list(ids[start : start + _IDS_PER_MATCH]), tenant])
            )
            for start in range(0, max(len(ids), 1), _IDS_PER_MATCH)
        ]
        return TokenMatches(
            np.concatenate([part.best for part in parts]),
            np.concatenate([part.pooled for part in parts]),
            sum(part.engine_ms for part in parts),
        )

    async def retrieve(
        self, ids: Sequence[str], *, tenant: str, with_vectors: bool = False
    ) -> list[StoredPoint]:
        check_ids(ids)
        found: list[StoredPoint] = []
        most = self._points_per_request if with_vectors and self.spec.token_dimensions else _IDS_PER_REQUEST
        for start in range(0, len(ids), most):
            part = list(ids[start : start + most])
            rows = await self._call("retrieve", [part, tenant, with_vectors])
            found.extend(wire.stored_from_wire(row) for row in rows)
        return found

    async def scroll(
        self,
        *,
        tenant: str | None,
        filter: Filter | None = None,
        batch: int = 1000,
        with_vectors: bool = False,
        start: str | None = None,
    ) -> AsyncIterator[list[StoredPoint]]:
        after = start
        if with_vectors and self.spec.token_dimensions:
            batch = min(batch, self._points_per_request)
        while True:
            arguments = [tenant, wire.filter_to_wire(filter), after, batch, with_vectors]
            rows, after = await self._call("scroll", arguments)
            if rows:
                yield [wire.stored_from_wire(row) for row in rows]
            if after is None:
                return

    async def count(self, *, tenant: str | None, filter: Filter | None = None) -> int:
        return int(await self._call("count", [tenant, wire.filter_to_wire(filter)]))

    async def facet(
        self, key: str, *, tenant: str, filter: Filter | None = None, limit: int = 20
    ) -> list[tuple[str | int | bool, int]]:
        check_facet(key, limit)
        rows = await self._call("facet", [key, tenant, wire.filter_to_wire(filter), limit])
        return [(value, count) for value, count in rows]

    async def info(self) -> CollectionInfo:
        body = await self._call("info", [])
        return CollectionInfo(home="embedded", read_only=False, spec=self.spec, **body)

    async def optimize(self, *, wait: bool = False) -> bool:
        # Waiting has no limit: a build takes minutes at 100,000 points.
        return bool(await self._call("optimize", [wait], math.inf if wait else None))

    async def copy_shard(self, target: Path) -> None:
        """Copy the shard to a folder, absolute and not there yet; writes wait, searches go on."""
        await self._call("copy", [str(target)], math.inf)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def open_embedded(settings: Settings, spec: CollectionSpec | None) -> EmbeddedCollection:
    """The collection in ``settings.home``, created when absent and ``spec`` is given.

    Raises:
        CollectionError: nothing is there and ``spec`` is None.
        FingerprintMismatchError: other encoders built what is there.
    """
    layout = layout_of(settings)
    if spec is not None and not layout.description.exists():
        write_description(layout, spec, EngineParameters.of(settings.collection))
    found, _ = read_description(layout)
    if spec is not None:
        check_spec(found, spec)
    collection = EmbeddedCollection(layout, found, settings.collection)
    await collection.connect()
    return collection


async def drop_embedded(settings: Settings) -> None:
    await drop(layout_of(settings))
