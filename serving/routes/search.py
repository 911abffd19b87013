"""POST /v1/search and POST /v1/query."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from time import perf_counter

from fastapi import APIRouter
from fastapi.sse import format_sse_event
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response, StreamingResponse

from retrieval.records import Answer, SearchRequest, SearchResponse
from serving.context import note, request_id
from serving.convert import (
    citation_replies,
    query_reply,
    receipt_reply,
    result_reply,
    search_reply,
    search_request,
)
from serving.deps import ServiceDep, TenantDep
from serving.replies import ModelResponse
from serving.routes.problems import PROBLEMS
from serving.schemas import (
    CitationReply,
    QueryBody,
    QueryReply,
    ReceiptReply,
    ResultReply,
    SearchBody,
    SearchReply,
    StageReply,
)
from serving.state import Service

logger = logging.getLogger(__name__)
router = APIRouter(tags=["search"])

_RESULTS = TypeAdapter(list[ResultReply])
_CITATIONS = TypeAdapter(list[CitationReply])


@router.post("/v1/search", response_model=SearchReply, responses=PROBLEMS, summary="Ranked passages")
async def search(body: SearchBody, service: ServiceDep, tenant: TenantDep) -> Response:
    """Find passages and say, stage by stage, how they were ranked."""
    response = await _search(service, search_request(body, tenant))
    return ModelResponse(search_reply(response))


_STREAM = {
    "description": (
        "With `stream`, server-sent events: `stage` for each step, `results`, `answer` (pieces to be "
        "joined), `citations`, then `done`; or `error` with a problem body when it fails half-way."
    ),
    "content": {"text/event-stream": {}},
}


@router.post(
    "/v1/query",
    response_model=QueryReply,
    responses={**PROBLEMS, 200: _STREAM},
    summary="Answer with citations",
)
async def query(body: QueryBody, service: ServiceDep, tenant: TenantDep) -> Response:
    """Answer a question with quoted sentences, each cited with its place in its document.

    No language model is involved: the answer is extractive, and `kind` says so.
    """
    # Searched before the first event: what can fail still gets its own HTTP status.
    response = await _search(service, search_request(body, tenant))
    answer, receipt = _answer(body, response)
    service.metrics.stages.labels("answer").observe(receipt.stages[-1].ms / 1000)
    note("citations", len(answer.citations))
    if body.stream:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            _events(response, answer, receipt), media_type="text/event-stream", headers=headers
        )
    return ModelResponse(query_reply(response, answer, receipt))


async def _search(service: Service, request: SearchRequest) -> SearchResponse:
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


def _answer(body: QueryBody, response: SearchResponse) -> tuple[Answer, ReceiptReply]:
    """Quote the best sentences; microseconds, so it stays on the event loop."""
    from retrieval.answer import MAX_SENTENCES, extract_answer

    began = perf_counter()
    answer = extract_answer(body.query, response.results, max_sentences=body.max_sentences or MAX_SENTENCES)
    receipt = receipt_reply(response.receipt)
    stage = StageReply.model_validate(
        {
            "name": "answer",
            "ms": round((perf_counter() - began) * 1000, 3),
            "kind": answer.kind,
            "sentences": len(answer.citations),
        }
    )
    return answer, ReceiptReply(stages=[*receipt.stages, stage], degraded=receipt.degraded)


async def _events(response: SearchResponse, answer: Answer, receipt: ReceiptReply) -> AsyncIterator[bytes]:
    for stage in receipt.stages:
        yield _event("stage", stage)
    results = [result_reply(result) for result in response.results]
    yield format_sse_event(event="results", data_str=_RESULTS.dump_json(results).decode())
    yield _event("answer", _AnswerPiece(text=answer.text, kind=answer.kind))
    citations = citation_replies(answer)
    yield format_sse_event(event="citations", data_str=_CITATIONS.dump_json(citations).decode())
    yield _event("done", _Done(request_id=request_id(), degraded=receipt.degraded))


class _AnswerPiece(BaseModel):
    text: str
    kind: str


class _Done(BaseModel):
    request_id: str
    degraded: list[str]


def _event(name: str, model: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=model.model_dump_json())
