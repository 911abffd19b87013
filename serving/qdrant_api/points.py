"""Points by id, page by page, counted and by their values: everything that is not a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from qdrant_client.http import models

from indexing.collection.protocol import DENSE, INTEGER_FIELDS, SPARSE, Collection, StoredPoint
from indexing.errors import InputError, NotFoundError
from indexing.records import Embedding
from serving.qdrant_api.filters import filter_of
from serving.qdrant_api.parse import (
    MAX_LIMIT,
    chosen_payload,
    limit_of,
    point_key,
    refuse,
    wants_vectors,
)

_PAGE = 1000
_NO_VECTORS: dict[str, models.VectorOutput] = {}


def named_vectors(
    embedding: Embedding | None, asked: models.WithVector | None
) -> dict[str, models.VectorOutput]:
    """Return a point's vectors by name, those that are asked for and that it has."""
    if embedding is None or not asked:
        return _NO_VECTORS
    names = (DENSE, SPARSE) if asked is True else asked
    vectors: dict[str, models.VectorOutput] = {}
    if DENSE in names and embedding.dense is not None:
        vectors[DENSE] = embedding.dense.tolist()
    if SPARSE in names and embedding.sparse.indices:
        indices, values = list(embedding.sparse.indices), [float(one) for one in embedding.sparse.values]
        vectors[SPARSE] = models.SparseVector(indices=indices, values=values)
    return vectors


def _record(
    point: StoredPoint,
    with_payload: models.WithPayloadInterface | None,
    with_vector: models.WithVector | None,
    order: models.OrderValue | None = None,
) -> models.Record:
    return models.Record(
        id=point.id,
        payload=chosen_payload(point.payload, with_payload, default=True),
        vector=named_vectors(point.embedding, with_vector) if with_vector else None,
        order_value=order,
    )


async def retrieve(collection: Collection, tenant: str, request: models.PointRequest) -> list[models.Record]:
    """Return the points with these ids that are the tenant's; others are left out.

    Raises:
        InputError: too many ids, or a field that is not served.
    """
    refuse(request, ("shard_key",))
    with_vectors = wants_vectors(request.with_vector)
    if request.ids:
        limit_of(len(request.ids), with_vectors=with_vectors)
    keys = [key for key in map(point_key, request.ids) if key is not None]
    rows = await collection.retrieve(list(dict.fromkeys(keys)), tenant=tenant, with_vectors=with_vectors)
    return [_record(row, request.with_payload, request.with_vector) for row in rows]


async def retrieve_one(collection: Collection, tenant: str, identifier: str) -> models.Record:
    """Return one point with its payload and its vectors.

    Raises:
        NotFoundError: no point of the tenant has this id.
    """
    request = models.PointRequest(ids=[identifier], with_payload=True, with_vector=True)
    found = await retrieve(collection, tenant, request)
    if not found:
        raise NotFoundError(f"Not found: Point with id {identifier} does not exists!")
    return found[0]


async def scroll(collection: Collection, tenant: str, request: models.ScrollRequest) -> models.ScrollResult:
    """Return a page of points by id, or the first points by a number in their payload.

    Raises:
        InputError: an impossible limit or offset, an order that is not served.
    """
    refuse(request, ("shard_key",))
    with_vectors = wants_vectors(request.with_vector)
    limit = limit_of(request.limit, with_vectors=with_vectors)
    if request.order_by is not None:
        return await _ordered(collection, tenant, request, request.order_by, limit)
    start: str | None = None
    if request.offset is not None and not isinstance(request.offset, int):
        start = point_key(request.offset)
        if start is None:
            raise InputError(f"Wrong input: offset {str(request.offset)!r} is not a point id")
    found: list[StoredPoint] = []
    pages = collection.scroll(
        tenant=tenant,
        filter=filter_of(request.filter),
        batch=min(limit + 1, _PAGE),
        with_vectors=with_vectors,
        start=start,
    )
    async for page in pages:
        found.extend(page)
        if len(found) > limit:
            break
    return models.ScrollResult(
        points=[_record(point, request.with_payload, request.with_vector) for point in found[:limit]],
        next_page_offset=found[limit].id if len(found) > limit else None,
    )


async def _ordered(
    collection: Collection,
    tenant: str,
    request: models.ScrollRequest,
    order: models.OrderByInterface,
    limit: int,
) -> models.ScrollResult:
    """The points that have the number, in its order; there is no next page, as in Qdrant."""
    by = models.OrderBy(key=order) if isinstance(order, str) else order
    if by.key not in INTEGER_FIELDS or request.offset is not None:
        raise InputError(
            f"Wrong input: order_by takes {' or '.join(INTEGER_FIELDS)}, and start_from instead of an offset"
        )
    wanted = filter_of(request.filter, _starting(by))
    if await collection.count(tenant=tenant, filter=wanted) > MAX_LIMIT:
        raise InputError(f"Wrong input: order_by sorts up to {MAX_LIMIT} points; narrow them by a filter")
    rows: list[StoredPoint] = []
    async for page in collection.scroll(tenant=tenant, filter=wanted, batch=_PAGE):
        rows.extend(point for point in page if isinstance(point.payload.get(by.key), int))
    rows.sort(key=lambda point: (cast(int, point.payload[by.key]), point.id))
    if by.direction == models.Direction.DESC:
        rows.reverse()
    rows = rows[:limit]
    values = [cast(int, row.payload[by.key]) for row in rows]
    if wants_vectors(request.with_vector):
        rows = await collection.retrieve([row.id for row in rows], tenant=tenant, with_vectors=True)
    return models.ScrollResult(
        points=[
            _record(row, request.with_payload, request.with_vector, value)
            for row, value in zip(rows, values, strict=True)
        ]
    )


def _starting(by: models.OrderBy) -> models.Filter | None:
    if by.start_from is None:
        return None
    if isinstance(by.start_from, bool) or not isinstance(by.start_from, int | float):
        raise InputError("Wrong input: start_from is a number")
    bound = float(by.start_from)
    descending = by.direction == models.Direction.DESC
    span = models.Range(lte=bound) if descending else models.Range(gte=bound)
    return models.Filter(must=[models.FieldCondition(key=by.key, range=span)])


async def count(collection: Collection, tenant: str, request: models.CountRequest) -> models.CountResult:
    """Return how many of the tenant's points match; always exact."""
    refuse(request, ("shard_key",))
    return models.CountResult(count=await collection.count(tenant=tenant, filter=filter_of(request.filter)))


async def facet(collection: Collection, tenant: str, request: models.FacetRequest) -> models.FacetResponse:
    """Return the most frequent values of a field among the tenant's points; always exact.

    Raises:
        FilterError: the field has no index.
    """
    refuse(request, ("shard_key",))
    limit = limit_of(request.limit, with_vectors=False)
    wanted = filter_of(request.filter)
    hits: Sequence[tuple[str | int | bool, int]]
    if request.key == "tenant":
        own = await collection.count(tenant=tenant, filter=wanted)
        hits = [(tenant, own)] if own else []
    else:
        hits = await collection.facet(request.key, tenant=tenant, filter=wanted, limit=limit)
    return models.FacetResponse(hits=[models.FacetValueHit(value=value, count=n) for value, n in hits])
