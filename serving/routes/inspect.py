"""/v1/inspect: what is stored, point by point, and a map of a sample."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from indexing.collection import parse_filter
from indexing.collection.filters import Filter
from indexing.errors import InputError
from serving.deps import ServiceDep, TenantDep
from serving.inspection.read import list_document, list_points, map_sample, read_point
from serving.inspection.schemas import InspectedPoints, MapReply, PointReply
from serving.replies import ModelResponse
from serving.routes.problems import NOT_FOUND, PROBLEMS
from serving.threads import in_thread

router = APIRouter(tags=["inspect"])

_MAX_SAMPLE = 2000
_MAX_CHARS = 2000

Section = Annotated[str | None, Query(description="sections that begin so", max_length=_MAX_CHARS)]
Source = Annotated[str | None, Query(description="this source alone", max_length=_MAX_CHARS)]
Doc = Annotated[str | None, Query(description="this document alone", max_length=_MAX_CHARS)]


def _filter(section: str | None, source: str | None, doc_id: str | None = None) -> Filter | None:
    fields: dict[str, object] = {}
    if section:
        fields["section"] = {"prefix": section}
    if source:
        fields["source"] = source
    if doc_id:
        fields["doc_id"] = doc_id
    return parse_filter(fields)


@router.get(
    "/v1/inspect/points",
    response_model=InspectedPoints,
    responses={**PROBLEMS, **NOT_FOUND},
    summary="Points",
)
async def points(
    service: ServiceDep,
    tenant: TenantDep,
    doc_id: Doc = None,
    section: Section = None,
    source: Source = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before", max_length=64)] = None,
) -> Response:
    """List points: a document's in reading order, others by id."""
    wanted = _filter(section, source)
    if doc_id is None or wanted is not None:
        whole = _filter(section, source, doc_id)
        return ModelResponse(await list_points(service.collection, tenant, whole, limit=limit, after=after))
    if after is not None and not (after.isascii() and after.isdigit()):
        raise InputError("after: give the `next` of the page before")
    document = await in_thread(service.catalog.document, tenant, doc_id)
    return ModelResponse(
        await list_document(service.collection, document, limit=limit, first=min(int(after or 0), 2**31))
    )


@router.get(
    "/v1/inspect/points/{point_id}", response_model=PointReply, responses=NOT_FOUND, summary="One point"
)
async def point(
    point_id: str,
    service: ServiceDep,
    tenant: TenantDep,
    neighbours: Annotated[int, Query(ge=0, le=20, description="sentences on each side")] = 3,
) -> Response:
    """Return a point's payload, the words of its sparse vector, and the sentences around it."""
    return ModelResponse(
        await read_point(service.collection, tenant, point_id, service.lexicon, neighbours=neighbours)
    )


@router.get("/v1/inspect/map", response_model=MapReply, responses=PROBLEMS, summary="Map of a sample")
async def sample_map(
    request: Request,
    service: ServiceDep,
    tenant: TenantDep,
    doc_id: Doc = None,
    section: Section = None,
    source: Source = None,
    sample: Annotated[int, Query(ge=2, le=_MAX_SAMPLE, description="points drawn")] = 1000,
) -> Response:
    """Project the dense vectors of a random sample onto their two principal components."""
    state = request.app.state
    if not hasattr(state, "map_lock"):
        state.map_lock = asyncio.Lock()
    return ModelResponse(
        await map_sample(
            service.collection,
            tenant,
            _filter(section, source, doc_id),
            sample=sample,
            one_at_a_time=state.map_lock,
        )
    )
