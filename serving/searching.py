"""A search that leaves its traces: metrics, the access line, the query log."""

from __future__ import annotations

import logging
from typing import Protocol

from indexing.errors import CatalogError, CollectionError, EncoderError, WinnowError
from retrieval.records import SearchRequest, SearchResponse
from retrieval.spans import span_around
from serving.context import note, request_id
from serving.metrics import Metrics
from serving.query_log import QueryLog

logger = logging.getLogger(__name__)


class SearchFunction(Protocol):
    """The one call of ``retrieval.search.Searcher`` that requests make."""

    async def search(self, request: SearchRequest) -> SearchResponse: ...


class Searching(Protocol):
    """The parts of the service that a search uses."""

    @property
    def searcher(self) -> SearchFunction: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def query_log(self) -> QueryLog | None: ...


async def recorded_search(service: Searching, request: SearchRequest) -> SearchResponse:
    """Search, and record what the search says of itself."""
    logger.debug("search id=%s query=%r", request_id(), request.query)
    with span_around("search") as span:
        try:
            response = await service.searcher.search(request)
        except WinnowError as error:
            part = _part(error)
            if part is not None:
                service.metrics.part_failures.labels(part).inc()
            raise
        if span is not None:
            span.set({"results": len(response.results), "degraded": len(response.receipt.degraded)})
    for stage in response.receipt.stages:
        service.metrics.stages.labels(stage.name).observe(stage.ms / 1000)
    if response.receipt.degraded:
        service.metrics.degraded.inc()
        # The only stage that a search can do without.
        service.metrics.part_failures.labels("reranker").inc()
    if service.query_log is not None:
        service.query_log.record(request, response)
    note("results", len(response.results))
    note("degraded", len(response.receipt.degraded))
    return response


def _part(error: WinnowError) -> str | None:
    """Return which part of the service an error comes from; None where it is the request's own."""
    for kind, part in (
        (CollectionError, "collection"),
        (CatalogError, "catalogue"),
        (EncoderError, "encoder"),
    ):
        if isinstance(error, kind):
            return part
    return None
