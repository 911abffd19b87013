"""Health, readiness, metrics, and what the collection holds."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from indexing.errors import WinnowError
from serving.access.principal import principal_of
from serving.deps import PrincipalDep, ServiceDep
from serving.metrics import CONTENT_TYPE
from serving.replies import ModelResponse
from serving.schemas import (
    CollectionReply,
    DefaultsReply,
    FacetValue,
    GenerationReply,
    HealthReply,
    ReadyReply,
)
from serving.state import Service
from serving.threads import in_thread

logger = logging.getLogger(__name__)
router = APIRouter()

_SCRAPE_PATIENCE_S = 2.0
_JOBS_COUNTED = 1000


@router.get("/health", tags=["operations"], response_model=HealthReply, summary="Alive")
async def health() -> Response:
    """Answer as long as the process does; asks nothing else."""
    return ModelResponse(HealthReply())


@router.get(
    "/ready",
    tags=["operations"],
    response_model=ReadyReply,
    responses={503: {"model": ReadyReply, "description": "A part does not answer"}},
    summary="Able to answer",
)
async def ready(request: Request, service: ServiceDep) -> Response:
    """Ask the catalogue, the collection and the models, each with a question it must answer.

    What each found is told to a caller with the scope `admin`; others learn
    which parts answer.
    """
    reply = await service.readiness.check()
    principal = principal_of(request.scope)
    if principal is None or not principal.is_admin:
        checks = [check.model_copy(update={"detail": ""}) for check in reply.checks]
        reply = reply.model_copy(update={"checks": checks})
    return ModelResponse(reply, HTTPStatus.OK if reply.ready else HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/metrics", tags=["operations"], summary="Prometheus metrics")
async def metrics(service: ServiceDep) -> Response:
    """Return the metrics, over all tenants; a part that does not answer keeps its last value."""
    await asyncio.gather(_count_points(service), _count_rows(service))
    return Response(service.metrics.render(), headers={"content-type": CONTENT_TYPE})


async def _count_points(service: Service) -> None:
    try:
        async with asyncio.timeout(_SCRAPE_PATIENCE_S):
            info = await service.collection.info()
    except (WinnowError, TimeoutError) as error:
        service.metrics.scrape_failures.labels("collection").inc()
        logger.warning("scrape_failed part=collection reason=%s", error)
        return
    service.metrics.points.set(info.points)
    service.metrics.indexed_points.set(info.indexed_points)


async def _count_rows(service: Service) -> None:
    try:
        async with asyncio.timeout(_SCRAPE_PATIENCE_S):
            documents = await in_thread(service.catalog.count_documents, None)
            states = await in_thread(service.catalog.job_states, _JOBS_COUNTED)
    except (WinnowError, TimeoutError) as error:
        service.metrics.scrape_failures.labels("catalogue").inc()
        logger.warning("scrape_failed part=catalogue reason=%s", error)
        return
    service.metrics.documents.set(documents)
    service.metrics.count_jobs(states)


@router.get("/v1/collection", tags=["documents"], response_model=CollectionReply, summary="What is indexed")
async def collection(
    service: ServiceDep,
    principal: PrincipalDep,
    facet_limit: Annotated[int, Query(ge=0, le=1000, description="values listed per facet")] = 100,
) -> Response:
    """Count what the collection holds for the caller's tenant and say what made it."""
    tenant = principal.tenant
    info, points, documents, sections, sources = await asyncio.gather(
        service.collection.info(),
        service.collection.count(tenant=tenant),
        in_thread(service.catalog.count_documents, tenant),
        _facet(service, tenant, "section", facet_limit),
        _facet(service, tenant, "source", facet_limit),
    )
    defaults = service.settings.retrieval
    sees_all = principal.is_admin  # these count the other tenants' sentences too
    return ModelResponse(
        CollectionReply(
            home=info.home,
            documents=documents,
            points=points,
            indexed_points=info.indexed_points if sees_all else None,
            segments=info.segments if sees_all else None,
            disk_bytes=info.disk_bytes if sees_all else None,
            optimizing=info.optimizing,
            read_only=info.read_only,
            collection_generation=service.collection_generation,
            encoders=service.encoders.model_copy(update={"reranker": service.reranker_name}),
            defaults=DefaultsReply(
                mode=defaults.mode,
                fusion=defaults.fusion,
                top_k=defaults.top_k,
                top_n=defaults.top_n,
                window_size=defaults.window_size,
            ),
            generation=_generation(service),
            sections=sections,
            sources=sources,
        )
    )


def _generation(service: Service) -> GenerationReply | None:
    if service.generator is None:
        return None
    wanted = service.settings.expansion
    return GenerationReply(
        model=service.generator.model,
        response_mode=service.settings.generation.response_mode,
        passages=service.settings.generation.passages,
        classify=wanted.classify,
        rewrite=wanted.rewrite,
        hyde=wanted.hyde,
        multi_query=wanted.multi_query,
        decompose=wanted.decompose,
    )


async def _facet(service: Service, tenant: str, key: str, limit: int) -> list[FacetValue]:
    if limit == 0:
        return []
    found = await service.collection.facet(key, tenant=tenant, limit=limit)
    return [FacetValue(value=value, count=count) for value, count in found]
