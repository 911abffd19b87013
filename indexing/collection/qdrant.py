"""The two qdrant-client homes' shared half.

``AsyncQdrantClient(":memory:")`` and a server take the same calls, so one
class serves both; they differ in how the client is made and what ``info`` tells.
Importing this module takes a second: the homes import it when they are opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import grpc
import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from indexing.collection.filters import Filter
from indexing.collection.protocol import (
    DENSE,
    INTEGER_FIELDS,
    KEYWORD_FIELDS,
    LINKED_FIELDS,
    POOLED,
    SPARSE,
    TOKENS,
    CollectionInfo,
    CollectionSpec,
    StoredPoint,
    TokenMatches,
)
from indexing.collection.qdrant_filters import (
    document_filter,
    hits,
    named_vectors,
    sparse,
    stored,
    tenant_filter,
    translate,
    vectors,
)
from indexing.collection.qdrant_tokens import gathered, token_params, token_requests
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
from indexing.errors import CollectionError, CollectionUnavailableError
from indexing.records import Embedding, FloatArray, Mode, Point, SideHits, SparseVector
from indexing.settings import CollectionSettings

SPEC_KEY = "winnow"
_BATCH = 256
# A server takes 32 MB a request; 30 tokens of 384 numbers are 115 kB of JSON.
_BATCH_WITH_TOKENS = 64
_PREFIX_FIELDS = frozenset({"section", "source"})
# What a node or a proxy says while it starts, is overloaded or has lost its peers.
_PASSING = frozenset({429, 500, 502, 503, 504})
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@contextmanager
def client_call(what: str, where: str) -> Iterator[None]:
    """Translate what qdrant-client raises; ``where`` is an address without secrets."""
    try:
        yield
    except (ResponseHandlingException, httpx.TransportError, OSError) as error:
        cause = getattr(error, "source", error)
        raise CollectionUnavailableError(f"no Qdrant answers at {where} ({type(cause).__name__})") from error
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
        if code in _UNREACHABLE:
            raise CollectionUnavailableError(f"no Qdrant answers at {where} ({code.name})") from error
        details = error.details() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else error
        raise CollectionError(f"Qdrant at {where} could not {what}: {details}") from error
    except (ApiException, QdrantException, ValueError) as error:
        passing = isinstance(error, json.JSONDecodeError) or (
            isinstance(error, UnexpectedResponse) and (error.status_code or 0) in _PASSING
        )
        kind = CollectionUnavailableError if passing else CollectionError
        raise kind(f"Qdrant at {where} could not {what}: {error}") from error


class QdrantCollection:
    """The ``Collection`` protocol over an asynchronous qdrant client."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        spec: CollectionSpec,
        settings: CollectionSettings,
        home: Literal["memory", "server"],
        where: str,
    ) -> None:
        self._client = client
        self.spec = spec
        self._settings = settings
        self._name = settings.name
        self._home = home
        self._where = where

    # ── writes ────────────────────────────────────────────────────────────

    async def upsert(self, points: Sequence[Point]) -> None:
        check_points(points, self.spec)
        most = _BATCH_WITH_TOKENS if self.spec.token_dimensions else _BATCH
        for start in range(0, len(points), most):
            rows = [
                models.PointStruct(id=point.id, vector=vectors(point.embedding), payload=dict(point.payload))
                for point in points[start : start + most]
            ]
            with client_call("write points", self._where):
                await self._client.upsert(self._name, rows, wait=True)

    async def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        check_ids(vectors)
        for key, vector in vectors.items():
            check_sparse(vector, key)
        ids = list(vectors)
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            with client_call("replace sparse vectors", self._where):
                rows = await self._client.retrieve(self._name, part, with_payload=False, with_vectors=False)
                present = [str(row.id) for row in rows]
                filled = [
                    models.PointVectors(id=key, vector={SPARSE: sparse(vectors[key])})
                    for key in present
                    if vectors[key].indices
                ]
                if filled:
                    await self._client.update_vectors(self._name, filled, wait=True)
                await self._drop_sparse([key for key in present if not vectors[key].indices])

    async def _drop_sparse(self, ids: Sequence[str]) -> None:
        """Write the points again without the vector.

        ``delete_vectors`` is not used: in the engine its postings come back
        when the point is next written.
        """
        if not ids:
            return
        rows = await self._client.retrieve(self._name, list(ids), with_payload=True, with_vectors=True)
        points = [
            models.PointStruct(
                id=row.id,
                vector={name: vector for name, vector in named_vectors(row).items() if name != SPARSE},
                payload=row.payload,
            )
            for row in rows
        ]
        await self._client.upsert(self._name, points, wait=True)

    async def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        if ids:
            with client_call("delete points", self._where):
                await self._client.delete(self._name, models.PointIdsList(points=list(ids)), wait=True)

    async def delete_document(self, tenant: str, doc_id: str, *, keep_version: str | None = None) -> None:
        selector = models.FilterSelector(filter=document_filter(tenant, doc_id, keep_version))
        with client_call("delete a document", self._where):
            await self._client.delete(self._name, selector, wait=True)

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
        where = translate(tenant, filter)
        requests: list[models.QueryRequest] = []
        dense_on = mode != "sparse" and query.dense is not None
        sparse_on = mode != "dense" and len(query.sparse) > 0
        if dense_on and query.dense is not None:
            params = self._dense_params(exact)
            requests.append(self._request(query.dense.tolist(), DENSE, top_k, where, params, with_payload))
        if sparse_on:
            params = None
            if self.spec.sparse_idf:
                params = models.SearchParams(idf=models.IdfCorpusParams(corpus=tenant_filter(tenant)))
            requests.append(self._request(sparse(query.sparse), SPARSE, top_k, where, params, with_payload))
        if not requests:
            return SideHits((), (), 0.0)
        started = time.perf_counter()
        with client_call("search", self._where):
            sides = await self._client.query_batch_points(self._name, requests)
        elapsed = (time.perf_counter() - started) * 1000
        return SideHits(
            dense=hits(sides[0].points) if dense_on else (),
            sparse=hits(sides[-1].points) if sparse_on else (),
            engine_ms=elapsed,
        )

    def _dense_params(self, exact: bool) -> models.SearchParams | None:
        if self._home == "memory":
            return None  # always exact, and says so at every search
        quantization: models.QuantizationSearchParams | None = None
        if self._settings.quantization != "none":
            quantization = models.QuantizationSearchParams(ignore=exact, rescore=True, oversampling=2.0)
        acorn: models.AcornSearchParams | None = None
        if self._settings.acorn_selectivity:
            acorn = models.AcornSearchParams(enable=True, max_selectivity=self._settings.acorn_selectivity)
        return models.SearchParams(
            hnsw_ef=self._settings.hnsw_ef, exact=exact, quantization=quantization, acorn=acorn
        )

    @staticmethod
    def _request(
        query: Any,
        using: str,
        top_k: int,
        where: models.Filter | None,
        params: models.SearchParams | None,
        with_payload: bool,
    ) -> models.QueryRequest:
        return models.QueryRequest(
            query=query, using=using, limit=top_k, filter=where, params=params, with_payload=with_payload
        )

    async def token_matches(self, tokens: FloatArray, ids: Sequence[str], *, tenant: str) -> TokenMatches:
        check_stores_tokens(self.spec)
        check_rows(tokens, self.spec.token_dimensions, "query")
        check_ids(ids)
        if not ids:
            return gathered([], ids, len(tokens), self.spec.pooled_dimensions, 0.0)
        requests = token_requests(
            tokens,
            ids,
            tenant,
            with_pooled=self.spec.pooled_dimensions > 0,
            local=self._home == "memory",
        )
        started = time.perf_counter()
        with client_call("compare tokens", self._where):
            answers = await self._client.query_batch_points(self._name, requests)
        elapsed = (time.perf_counter() - started) * 1000
        rows = [answer.points for answer in answers]
        return gathered(rows, ids, len(tokens), self.spec.pooled_dimensions, elapsed)

    async def retrieve(
        self, ids: Sequence[str], *, tenant: str, with_vectors: bool = False
    ) -> list[StoredPoint]:
        check_ids(ids)
        with client_call("read points", self._where):
            rows = await self._client.retrieve(
                self._name, list(ids), with_payload=True, with_vectors=with_vectors
            )
        points = (stored(row, with_vectors) for row in rows)
        found = {point.id: point for point in points if point.payload.get("tenant") == tenant}
        return [found[key] for key in ids if key in found]

    async def scroll(
        self,
        *,
        tenant: str | None,
        filter: Filter | None = None,
        batch: int = 1000,
        with_vectors: bool = False,
        start: str | None = None,
    ) -> AsyncIterator[list[StoredPoint]]:
        where = translate(tenant, filter)
        after: Any = start
        while True:
            with client_call("read points", self._where):
                rows, after = await self._client.scroll(
                    self._name, where, limit=batch, offset=after, with_payload=True, with_vectors=with_vectors
                )
            if rows:
                yield [stored(row, with_vectors) for row in rows]
            if after is None:
                return

    async def count(self, *, tenant: str | None, filter: Filter | None = None) -> int:
        with client_call("count points", self._where):
            return (await self._client.count(self._name, translate(tenant, filter), exact=True)).count

    async def facet(
        self, key: str, *, tenant: str, filter: Filter | None = None, limit: int = 20
    ) -> list[tuple[str | int | bool, int]]:
        check_facet(key, limit)
        with client_call("count values", self._where):
            answer = await self._client.facet(
                self._name, key, translate(tenant, filter), limit=limit, exact=True
            )
        found = [(hit.value, hit.count) for hit in answer.hits]
        return sorted(found, key=lambda item: (-item[1], str(item[0])))

    async def info(self) -> CollectionInfo:
        with client_call("describe the collection", self._where):
            body = await self._client.get_collection(self._name)
            points = await self.count(tenant=None)
            others = 0  # what is counted as indexed beside the dense vectors
            for name in (SPARSE, *((TOKENS, POOLED) if self.spec.token_dimensions else ())):
                others += (await self._client.count(self._name, has_vector(name), exact=True)).count
        return CollectionInfo(
            home=self._home,
            points=points,
            indexed_points=min(max((body.indexed_vectors_count or 0) - others, 0), points),
            segments=body.segments_count,
            disk_bytes=None,
            optimizing=body.status == models.CollectionStatus.YELLOW,
            read_only=False,
            spec=self.spec,
        )

    async def optimize(self, *, wait: bool = False) -> bool:
        """A server builds its graphs on its own; memory has none."""
        return False

    async def close(self) -> None:
        await self._client.close()


def has_vector(name: str) -> models.Filter:
    return models.Filter(must=[models.HasVectorCondition(has_vector=name)])


def quantization_config(settings: CollectionSettings) -> models.QuantizationConfig | None:
    """The dense vectors' quantization, as the embedded home has it."""
    if settings.quantization == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if settings.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
    return None


async def create_collection(
    client: AsyncQdrantClient, spec: CollectionSpec, settings: CollectionSettings
) -> None:
    """Create the collection with the same vectors and payload indexes as the embedded home."""
    await client.create_collection(
        settings.name,
        vectors_config={
            # Quantization is the dense vectors' own: a default for all would copy token vectors too.
            DENSE: models.VectorParams(
                size=spec.dimensions,
                distance=models.Distance.COSINE,
                quantization_config=quantization_config(settings),
            ),
            **token_params(spec, settings),
        },
        sparse_vectors_config={
            SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF if spec.sparse_idf else None)
        },
        hnsw_config=models.HnswConfigDiff(m=settings.hnsw_m, ef_construct=settings.hnsw_ef_construct),
        metadata={SPEC_KEY: asdict(spec)},
    )
    for field in KEYWORD_FIELDS:
        keyword = models.KeywordIndexParams(
            type=models.KeywordIndexType.KEYWORD,
            is_tenant=True if field == "tenant" else None,
            enable_hnsw=field in LINKED_FIELDS,
            prefix=True if field in _PREFIX_FIELDS else None,
        )
        await client.create_payload_index(settings.name, field, keyword, wait=True)
    for field in INTEGER_FIELDS:
        integer = models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=True, range=True, enable_hnsw=False
        )
        await client.create_payload_index(settings.name, field, integer, wait=True)


async def stored_spec(client: AsyncQdrantClient, name: str) -> CollectionSpec | None:
    """The spec the collection remembers; None when there is no such collection.

    Raises:
        CollectionError: a collection of this name exists and is not Winnow's.
        FingerprintMismatchError: an earlier version named its points.
    """
    if not await client.collection_exists(name):
        return None
    body = ((await client.get_collection(name)).config.metadata or {}).get(SPEC_KEY)
    try:
        return CollectionSpec.stored(body or {})
    except TypeError as error:
        raise CollectionError(
            f"the Qdrant collection {name!r} was not made by Winnow; choose another name: collection.name"
        ) from error
