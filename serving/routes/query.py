"""POST /v1/query: an answer with citations, whole or as server-sent events."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.sse import format_sse_event
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response, StreamingResponse

from indexing.errors import WinnowError
from serving.answering.history import repeated_turns
from serving.answering.measuring import counted, last_of, measure
from serving.answering.records import AnswerRequest, Event, Found, Labelled, Piece, StageDone, Written
from serving.context import request_id
from serving.conversations import said
from serving.convert import (
    citation_replies,
    expansions,
    flaw_replies,
    labelled_replies,
    query_reply,
    result_reply,
    search_request,
    stage_reply,
    usage_reply,
)
from serving.deps import PrincipalDep, ServiceDep, TenantDep
from serving.errors import winnow_problem
from serving.replies import ModelResponse
from serving.routes.problems import NOT_FOUND, PROBLEMS
from serving.schemas import CitationReply, FlawReply, QueryBody, QueryReply, ResultReply
from serving.state import Service
from serving.stream_schemas import DoneReply, LabelledReply, PieceReply
from serving.threads import in_thread, to_the_end

logger = logging.getLogger(__name__)
router = APIRouter(tags=["search"])

_RESULTS = TypeAdapter(list[ResultReply])
_CITATIONS = TypeAdapter(list[CitationReply])
_LABELLED = TypeAdapter(list[LabelledReply])
_FLAWS = TypeAdapter(list[FlawReply])

_STREAM = {
    "description": (
        "With `stream`, server-sent events: `stage` for each step, `results`, `passages` (what the labels "
        "of a written answer mean), `answer` (pieces to be joined; one with `restart` discards those "
        "before it), `citations`, `flaws` and `usage` of a "
        "written answer, then `done` with the final text; or `error` with a problem body when it fails "
        "half-way."
    ),
    "content": {"text/event-stream": {}},
}


@router.post(
    "/v1/query",
    response_model=QueryReply,
    responses={**PROBLEMS, **NOT_FOUND, 200: _STREAM},
    summary="Answer with citations",
)
async def query(body: QueryBody, service: ServiceDep, tenant: TenantDep, principal: PrincipalDep) -> Response:
    """Answer a question from the documents, each statement cited with its place.

    With a language model (`generation.url`) the answer is written and checked
    against its passages; without one, or with `generate` false, the best
    sentences are quoted. `kind` says which.
    """
    if body.conversation_id is not None:
        principal.require("write")  # the turn is kept
    request = await answer_request(body, service, tenant)
    events = counted(service.writer.write(request), service)
    # The first event comes before the answer begins: what fails until then
    # still gets its own HTTP status.
    first = await anext(events)
    keep = partial(_keep, service, tenant, body)
    if body.stream:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            _told(first, events, service, body, keep), media_type="text/event-stream", headers=headers
        )
    written = await last_of(first, events, service)
    await keep(written)
    return ModelResponse(query_reply(written, body.conversation_id))


async def answer_request(body: QueryBody, service: Service, tenant: str) -> AnswerRequest:
    """Return the request with the conversation it goes on from.

    Raises:
        NotFoundError: the conversation is not there.
    """
    generation = service.settings.generation
    saved = (
        await in_thread(service.conversations.turns, tenant, body.conversation_id)
        if body.conversation_id is not None
        else []
    )
    sent = [turn.sent for turn in saved if turn.sent is not None]
    model = None if body.generate is False else service.generator
    return AnswerRequest(
        search=search_request(body, tenant),
        expand=expansions(body, service.settings.expansion),
        response_mode=body.response_mode or generation.response_mode,
        max_sentences=body.max_sentences,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        history=await repeated_turns(sent, generation.history_tokens, model),
        said=said(saved),
        generate=body.generate is not False,
        passages=body.passages,
    )


async def _keep(service: Service, tenant: str, body: QueryBody, written: Written) -> None:
    if body.conversation_id is not None:
        await to_the_end(service.conversations.append, tenant, body.conversation_id, body.query, written)


async def _told(
    first: Event, events: AsyncGenerator[Event], service: Service, body: QueryBody, keep: Any
) -> AsyncIterator[bytes]:
    try:
        async with contextlib.aclosing(events):
            event = first
            while not isinstance(event, Written):
                yield _event_bytes(event)
                event = await anext(events)
        measure(service, event)
        await keep(event)
        for piece in _ending(event):
            yield piece
        yield _event("done", _done(event, body.conversation_id))
    except WinnowError as error:
        logger.warning("answer_failed id=%s reason=%s", request_id(), error)
        yield format_sse_event(event="error", data_str=json.dumps(winnow_problem(error)))


def _event_bytes(event: StageDone | Found | Labelled | Piece) -> bytes:
    if isinstance(event, StageDone):
        return _event("stage", stage_reply(event.stage))
    if isinstance(event, Found):
        results = [result_reply(result) for result in event.results]
        return format_sse_event(event="results", data_str=_RESULTS.dump_json(results).decode())
    if isinstance(event, Labelled):
        labelled = _LABELLED.dump_json(labelled_replies(event.passages)).decode()
        return format_sse_event(event="passages", data_str=labelled)
    return _event("answer", PieceReply(text=event.text, kind=event.kind, restart=event.restart))


def _ending(written: Written) -> list[bytes]:
    citations = citation_replies(written.answer)
    pieces = [format_sse_event(event="citations", data_str=_CITATIONS.dump_json(citations).decode())]
    if written.model is not None:
        flaws = flaw_replies(written)
        pieces.append(format_sse_event(event="flaws", data_str=_FLAWS.dump_json(flaws).decode()))
    usage = usage_reply(written)
    if usage is not None:
        pieces.append(_event("usage", usage))
    return pieces


def _done(written: Written, conversation_id: str | None) -> DoneReply:
    return DoneReply(
        request_id=request_id(),
        degraded=list(written.receipt.degraded),
        answer=written.answer.text,
        kind=written.answer.kind,
        conversation_id=conversation_id,
    )


def _event(name: str, model: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=model.model_dump_json())
