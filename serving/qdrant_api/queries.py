"""``points/query``: nearest by vector, by point or by text; prefetches, fused or scored again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import UUID

from qdrant_client.http import models
from qdrant_client.hybrid.fusion import distribution_based_score_fusion, reciprocal_rank_fusion

from indexing.collection.protocol import DENSE, Collection
from indexing.collection.validation import MAX_TOP_K
from indexing.errors import InputError, NotFoundError
from indexing.records import Embedding, Hit, SparseVector
from serving.qdrant_api.filters import filter_of
from serving.qdrant_api.parse import (
    chosen_payload,
    dense_vector,
    limit_of,
    offset_of,
    point_key,
    refuse,
    side_of,
    sparse_vector,
    wants_vectors,
)
from serving.qdrant_api.points import named_vectors
from serving.state import EmbedText

_MAX_DEPTH = 4
_MAX_PREFETCHES = 16
_NO_TERMS = SparseVector((), ())
_KINDS = (
    "a vector, a point id, a text, {nearest}, {fusion: rrf or dbsf} or {rrf: {k, weights}} over prefetches"
)
_Node = models.QueryRequest | models.Prefetch


class Queries:
    """The queries of one caller; ``tenant`` reaches every request to the collection."""

    def __init__(self, collection: Collection, tenant: str, embed: EmbedText | None) -> None:
        self._collection = collection
        self._tenant = tenant
        self._embed = embed

    async def run(self, request: models.QueryRequest) -> models.QueryResponse:
        """Return the hits of a request, best first.

        Raises:
            InputError: what the request asks for is not served.
            NotFoundError: it names a point that is not here.
        """
        refuse(request, ("shard_key", "lookup_from"))
        with_vectors = wants_vectors(request.with_vector)
        limit = limit_of(request.limit, with_vectors=with_vectors)
        offset = offset_of(request.offset)
        if request.query is None and not request.prefetch:
            hits = await self._in_order(request, offset + limit)
        else:
            hits = await self._ranked(request, min(offset + limit, MAX_TOP_K), None, _MAX_DEPTH)
        hits = hits[offset : offset + limit]
        vectors = await self._vectors_of(hits, request.with_vector) if with_vectors else {}
        return models.QueryResponse(
            points=[
                models.ScoredPoint(
                    id=hit.id,
                    version=0,
                    score=hit.score,
                    payload=chosen_payload(hit.payload, request.with_payload, default=False),
                    vector=vectors.get(hit.id),
                )
                for hit in hits
            ]
        )

    async def _in_order(self, request: models.QueryRequest, count: int) -> list[Hit]:
        """Without a query points come by id, each with the score 0."""
        found: list[Hit] = []
        pages = self._collection.scroll(
            tenant=self._tenant, filter=filter_of(request.filter), batch=min(count, 1000)
        )
        async for page in pages:
            found.extend(Hit(point.id, 0.0, 0, point.payload) for point in page)
            if len(found) >= count:
                break
        return found[:count]

    async def _ranked(self, node: _Node, limit: int, outer: models.Filter | None, depth: int) -> list[Hit]:
        """Hits of a request or of a prefetch; the filters around it hold inside as well."""
        if depth == 0:
            raise InputError(f"Wrong input: prefetches are nested more than {_MAX_DEPTH} levels deep")
        where = _both(outer, node.filter)
        if node.prefetch:
            hits = await self._over_prefetches(node, limit, where, depth)
        else:
            hits = await self._nearest(node, limit, where)
        if node.score_threshold is not None:
            hits = [hit for hit in hits if hit.score >= node.score_threshold]
        return hits[:limit]

    async def _over_prefetches(
        self, node: _Node, limit: int, where: models.Filter | None, depth: int
    ) -> list[Hit]:
        given = node.prefetch if isinstance(node.prefetch, list) else [cast(models.Prefetch, node.prefetch)]
        if len(given) > _MAX_PREFETCHES:
            raise InputError(f"Wrong input: at most {_MAX_PREFETCHES} prefetches side by side")
        for one in given:
            refuse(one, ("lookup_from",))
        sides = await asyncio.gather(
            *(self._ranked(one, limit_of(one.limit, with_vectors=False), where, depth - 1) for one in given)
        )
        fused = _fused(node.query, sides, limit)
        if fused is not None:
            return fused
        among = list({hit.id: None for side in sides for hit in side})
        if not among:
            return []
        return await self._nearest(node, limit, _both(where, _has_id(among)), exact=True)

    async def _nearest(
        self, node: _Node, limit: int, where: models.Filter | None, *, exact: bool = False
    ) -> list[Hit]:
        wanted = _input_of(node.query)
        side = side_of(node.using)
        params = node.params
        if params is not None:
            refuse(params, ("idf", "indexed_only"))
            exact = exact or bool(params.exact)
        embedding, itself = await self._embedding(wanted, side)
        if itself is not None:
            where = _both(where, models.Filter(must_not=[models.HasIdCondition(has_id=[itself])]))
        found = await self._collection.search(
            embedding,
            tenant=self._tenant,
            top_k=limit,
            mode="dense" if side == DENSE else "sparse",
            filter=filter_of(where),
            exact=exact,
        )
        return list(found.dense if side == DENSE else found.sparse)

    async def _embedding(self, wanted: object, side: str) -> tuple[Embedding, str | None]:
        """The query's vectors, and the point it was when it named one."""
        if isinstance(wanted, models.SparseVector):
            if side == DENSE:
                raise InputError("Wrong input: Conversion between sparse and regular vectors failed")
            return Embedding(None, sparse_vector(wanted)), None
        if isinstance(wanted, list):
            if side != DENSE:
                raise InputError("Wrong input: Conversion between sparse and regular vectors failed")
            if wanted and isinstance(wanted[0], list):
                raise InputError("Wrong input: multivectors are not served; give one vector")
            return Embedding(dense_vector(wanted, self._collection.spec), _NO_TERMS), None
        if isinstance(wanted, models.Document):
            return await self._of_text(wanted, side), None
        if isinstance(wanted, str | int | UUID):
            return await self._of_point(wanted, side)
        raise InputError(f"Wrong input: this query is not served; accepted: {_KINDS}")

    async def _of_text(self, wanted: models.Document, side: str) -> Embedding:
        if self._embed is None or not isinstance(wanted.text, str) or not wanted.text.strip():
            raise InputError("Wrong input: a text to embed is one that is not empty")
        made = await self._embed(wanted.text)
        if side == DENSE and made.dense is None:
            raise InputError("Wrong input: the dense encoder does not know this text's script; use sparse")
        return made

    async def _of_point(self, wanted: str | int | UUID, side: str) -> tuple[Embedding, str]:
        key = point_key(wanted)
        found = (
            []
            if key is None
            else await self._collection.retrieve([key], tenant=self._tenant, with_vectors=True)
        )
        if not found or found[0].embedding is None:
            raise NotFoundError(f"Not found: No point with id {wanted} found")
        held = found[0].embedding
        if (held.dense is None) if side == DENSE else not held.sparse.indices:
            raise InputError(f"Wrong input: point {wanted} has no {side} vector")
        return held, found[0].id

    async def _vectors_of(
        self, hits: Sequence[Hit], asked: models.WithVector | None
    ) -> dict[str, models.VectorStructOutput]:
        rows = await self._collection.retrieve(
            [hit.id for hit in hits], tenant=self._tenant, with_vectors=True
        )
        return {row.id: named_vectors(row.embedding, asked) for row in rows}


def _both(first: models.Filter | None, second: models.Filter | None) -> models.Filter | None:
    if first is None or second is None:
        return first or second
    return models.Filter(must=[first, second])


def _has_id(ids: list[str]) -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=cast(list[models.ExtendedPointId], ids))])


def _input_of(query: object) -> object:
    if isinstance(query, models.NearestQuery):
        refuse(query, ("mmr",))
        return query.nearest
    if isinstance(query, models.FusionQuery | models.RrfQuery):
        raise InputError("Wrong input: fusion needs prefetches")
    return query


def _fused(query: object, sides: Sequence[Sequence[Hit]], limit: int) -> list[Hit] | None:
    """The sides as one ranking by the client's own formulas; None when the query is no fusion."""
    lists = [[_scored(hit) for hit in side] for side in sides]
    if isinstance(query, models.FusionQuery):
        if query.fusion == models.Fusion.DBSF:
            ranked = distribution_based_score_fusion(lists, limit)
        else:
            ranked = reciprocal_rank_fusion(lists, limit)
    elif isinstance(query, models.RrfQuery):
        _check_rrf(query.rrf, len(lists))
        ranked = reciprocal_rank_fusion(lists, limit, query.rrf.k, query.rrf.weights)
    else:
        return None
    payloads: Mapping[str, Mapping[str, object]] = {hit.id: hit.payload for side in sides for hit in side}
    return [Hit(str(one.id), one.score, rank, payloads[str(one.id)]) for rank, one in enumerate(ranked, 1)]


def _check_rrf(rrf: models.Rrf, sides: int) -> None:
    if rrf.k is not None and rrf.k < 1:
        raise InputError("Wrong input: rrf takes a k of 1 or more")
    if rrf.weights is None:
        return
    if len(rrf.weights) != sides or not all(0 <= one < math.inf for one in rrf.weights):
        raise InputError("Wrong input: rrf takes one weight for each prefetch, none below 0")


def _scored(hit: Hit) -> models.ScoredPoint:
    return models.ScoredPoint(id=hit.id, version=0, score=hit.score)
