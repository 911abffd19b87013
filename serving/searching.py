"""A search that leaves its traces: metrics, the access line, the query log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from retrieval.records import SearchRequest, SearchResponse
from serving.context import note, request_id

if TYPE_CHECKING:
    from serving.state import Service

logger = logging.getLogger(__name__)


async def recorded_search(service: Service, request: SearchRequest) -> SearchResponse:
    """Search, and record what the search says of itself."""
    logger.debug("search id=%s query=%r", request_id(), request.query)
    response = await service.searcher.search(request)
    for stage in response.receipt.stages:
        service.metrics.stages.labels(stage.name).observe(stage.ms / 1000)
    if response.receipt.degraded:
        service.metrics.degraded.inc()
    if service.query_log is not None:
        service.query_log.record(request, response)
    note("results", len(response.results))
    note("degraded", len(response.receipt.degraded))
    return response
