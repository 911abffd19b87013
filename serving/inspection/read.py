"""Reading points for a person: a list, one with its neighbours and words, a sample on a map."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from indexing.catalog.records import DocumentRecord
from indexing.collection.filters import Filter
from indexing.collection.protocol import Collection, StoredPoint
from indexing.errors import InputError, NotFoundError, VectorError
from indexing.identity import point_id
from indexing.records import SparseVector
from serving.inspection.lexicon import Lexicon
from serving.inspection.plane import project
from serving.inspection.schemas import (
    InspectedPoint,
    InspectedPoints,
    MapDocument,
    MapPoint,
    MapReply,
    PointReply,
    TermReply,
)
from serving.threads import in_thread

_SCROLLED = 500
_SHOWN_TEXT = 160
_DENSE_SHOWN = 8


async def list_points(
    collection: Collection, tenant: str, wanted: Filter | None, *, limit: int, after: str | None
) -> InspectedPoints:
    """Return a page of points by id.

    Raises:
        InputError: ``after`` is not what a page before gave.
    """
    total = await collection.count(tenant=tenant, filter=wanted)
    found: list[StoredPoint] = []
    pages = collection.scroll(tenant=tenant, filter=wanted, batch=limit + 1, start=_checked(after))
    async for page in pages:
        found.extend(page)
        if len(found) > limit:
            break
    following = found[limit].id if len(found) > limit else None
    return InspectedPoints(points=[shown(point) for point in found[:limit]], next=following, total=total)


async def list_document(
    collection: Collection, document: DocumentRecord, *, limit: int, first: int
) -> InspectedPoints:
    """Return a page of one document's points in reading order, from ordinal ``first`` on.

    Their ids follow from the document, so no filter has to find them.
    """
    last = min(document.sentences, first + limit)
    ids = _ids(document.tenant, document.doc_id, document.version, range(first, last))
    rows = await collection.retrieve(ids, tenant=document.tenant)
    following = str(last) if last < document.sentences else None
    return InspectedPoints(points=[shown(row) for row in rows], next=following, total=document.sentences)


async def read_point(
    collection: Collection, tenant: str, identifier: str, lexicon: Lexicon | None, *, neighbours: int
) -> PointReply:
    """Return a point with its words and its neighbours.

    Raises:
        NotFoundError: no point of the tenant has this id.
    """
    try:
        rows = await collection.retrieve([identifier], tenant=tenant, with_vectors=True)
    except VectorError:
        rows = []
    if not rows:
        raise NotFoundError(f"no point {identifier!r}")
    point = rows[0]
    at = _ordinal(point)
    around = _ids(
        tenant,
        str(point.payload["doc_id"]),
        str(point.payload.get("version", "")),
        [ordinal for ordinal in range(max(0, at - neighbours), at + neighbours + 1) if ordinal != at],
    )
    beside = [shown(row) for row in await collection.retrieve(around, tenant=tenant)]
    embedding = point.embedding
    dense = None if embedding is None else embedding.dense
    sparse = SparseVector((), ()) if embedding is None else embedding.sparse
    return PointReply(
        id=point.id,
        payload=dict(point.payload),
        terms=_terms(point, sparse, lexicon),
        dense_dimensions=None if dense is None else len(dense),
        dense_begins=[] if dense is None else [round(float(one), 4) for one in dense[:_DENSE_SHOWN]],
        before=[one for one in beside if one.ordinal < at],
        after=[one for one in beside if one.ordinal > at],
    )


async def map_sample(
    collection: Collection, tenant: str, wanted: Filter | None, *, sample: int, one_at_a_time: asyncio.Lock
) -> MapReply:
    """Return up to ``sample`` points on a plane.

    Ids are hashes, so the first of them in order are a random sample.
    """
    total = await collection.count(tenant=tenant, filter=wanted)
    found: list[StoredPoint] = []
    pages = collection.scroll(tenant=tenant, filter=wanted, batch=min(sample, _SCROLLED), with_vectors=True)
    async for page in pages:
        found.extend(point for point in page if point.embedding is not None)
        if len(found) >= sample:
            break
    # The decomposition of 2,000 vectors takes a core for a moment: never two at once.
    async with one_at_a_time:
        return await in_thread(_map, found[:sample], total)


def _map(points: Sequence[StoredPoint], total: int) -> MapReply:
    drawn = [
        (point, point.embedding.dense)
        for point in points
        if point.embedding is not None and point.embedding.dense is not None
    ]
    if not drawn:
        return MapReply(points=[], documents=[], explained=0.0, total=total)
    flat, explained = project(np.stack([dense for _, dense in drawn]))
    numbers: dict[str, int] = {}
    documents: list[MapDocument] = []
    placed: list[MapPoint] = []
    for (point, _), (x, y) in zip(drawn, flat, strict=True):
        doc_id = str(point.payload["doc_id"])
        if doc_id not in numbers:
            numbers[doc_id] = len(documents)
            documents.append(MapDocument(doc_id=doc_id, title=str(point.payload.get("title", ""))))
        text = str(point.payload.get("text", ""))[:_SHOWN_TEXT]
        placed.append(
            MapPoint(
                id=point.id, document=numbers[doc_id], x=round(float(x), 4), y=round(float(y), 4), text=text
            )
        )
    return MapReply(points=placed, documents=documents, explained=round(explained, 4), total=total)


def shown(point: StoredPoint) -> InspectedPoint:
    """Return a point as one row of a list."""
    payload = point.payload
    page = payload.get("page")
    return InspectedPoint(
        id=point.id,
        doc_id=str(payload["doc_id"]),
        ordinal=_ordinal(point),
        title=str(payload.get("title", "")),
        section=str(payload.get("section", "")),
        page=page if isinstance(page, int) else None,
        source=str(payload.get("source", "")),
        text=str(payload.get("text", "")),
    )


def _ordinal(point: StoredPoint) -> int:
    ordinal = point.payload.get("ordinal")
    return ordinal if isinstance(ordinal, int) else 0


def _ids(tenant: str, doc_id: str, version: str, ordinals: Sequence[int]) -> list[str]:
    return [point_id(tenant, doc_id, version, ordinal) for ordinal in ordinals]


def _terms(point: StoredPoint, sparse: SparseVector, lexicon: Lexicon | None) -> list[TermReply]:
    text = str(point.payload.get("text", ""))
    words = [None] * len(sparse) if lexicon is None else lexicon.words(text, sparse.indices)
    terms = [
        TermReply(index=index, word=word, weight=round(float(weight), 4))
        for index, word, weight in zip(sparse.indices, words, sparse.values, strict=True)
    ]
    return sorted(terms, key=lambda term: (-term.weight, term.word or "", term.index))


def _checked(after: str | None) -> str | None:
    if after is None:
        return None
    try:
        return str(UUID(after))
    except ValueError as error:
        raise InputError("after: give the `next` of the page before") from error
