"""/v1/chat/completions and /v1/models: the service as an OpenAI-compatible model."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from indexing.errors import InputError, WinnowError
from retrieval.generation.prompts import Turn
from retrieval.generation.protocol import Message
from retrieval.records import SearchRequest
from serving.answering.history import repeated_turns
from serving.answering.measuring import counted, last_of, measure
from serving.answering.records import AnswerRequest, Event, Piece, Written
from serving.chat_schemas import (
    MODEL,
    ChatBody,
    ChatChoice,
    ChatChunk,
    ChatEvidence,
    ChatMessageReply,
    ChatReply,
    ChatUsage,
    ChunkChoice,
    ChunkDelta,
    ModelReply,
    ModelsReply,
    PromptDetails,
)
from serving.context import request_id
from serving.convert import citation_replies, expansions, flaw_replies, receipt_reply
from serving.deps import ServiceDep, TenantDep
from serving.errors import winnow_problem
from serving.replies import ModelResponse
from serving.routes.problems import PROBLEMS
from serving.state import Service

logger = logging.getLogger(__name__)
router = APIRouter(tags=["chat"])


@router.get("/v1/models", response_model=ModelsReply, summary="Models")
async def models() -> Response:
    """List the one model that this service is to a client of the OpenAI API."""
    return ModelResponse(ModelsReply(data=[ModelReply(id=MODEL)]))


@router.post(
    "/v1/chat/completions",
    response_model=ChatReply,
    responses={**PROBLEMS, 200: {"content": {"text/event-stream": {}}}},
    summary="Answer in a chat",
)
async def chat(body: ChatBody, service: ServiceDep, tenant: TenantDep) -> Response:
    """Answer the last message from the documents; `winnow` in the answer holds the citations.

    Earlier messages are the conversation. Nothing is kept: `/v1/conversations` does that.
    """
    request = await _request(body, service, tenant)
    events = counted(service.writer.write(request), service)
    first = await anext(events)
    made = f"chatcmpl-{request_id()}"
    if body.stream:
        wants_usage = body.stream_options is not None and body.stream_options.include_usage
        stream = _chunks(made, first, events, service, wants_usage=wants_usage)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
    written = await last_of(first, events, service)
    return ModelResponse(
        ChatReply(
            id=made,
            created=int(time.time()),
            model=MODEL,
            choices=[
                ChatChoice(
                    message=ChatMessageReply(content=written.answer.text), finish_reason=_finish(written)
                )
            ],
            usage=_usage(written),
            winnow=_evidence(written),
        )
    )


async def _request(body: ChatBody, service: Service, tenant: str) -> AnswerRequest:
    *before, last = body.messages
    if last.role != "user":
        raise InputError(f"the last message is of role {last.role!r}; it must be the user's question")
    told = [
        Message("user" if one.role == "user" else "assistant", one.text)
        for one in before
        if one.role in ("user", "assistant")
    ]
    system = "\n".join(one.text for one in body.messages if one.role in ("system", "developer"))
    options = body.winnow
    generation = service.settings.generation
    model = None if options.generate is False else service.generator
    return AnswerRequest(
        search=SearchRequest(
            query=last.text,
            tenant=tenant,
            top_k=options.top_k,
            top_n=options.top_n,
            filter=options.filter,
            rerank=options.rerank,
        ),
        expand=expansions(options, service.settings.expansion),
        response_mode=options.response_mode or generation.response_mode,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        history=await repeated_turns(_turns(told), generation.history_tokens, model),
        said=tuple(told),
        generate=options.generate is not False,
        system=system,
        passages=options.passages,
    )


def _turns(told: list[Message]) -> tuple[Turn, ...]:
    """Pair questions with the answers that follow; a chat need not alternate, a prompt does."""
    turns: list[Turn] = []
    asked: list[str] = []
    for message in told:
        if message.role == "user":
            asked.append(message.content)
        elif asked:
            turns.append(Turn("\n".join(asked), message.content))
            asked = []
        elif turns:
            turns[-1] = Turn(turns[-1].user, f"{turns[-1].assistant}\n{message.content}")
    return tuple(turns)


def _usage(written: Written) -> ChatUsage:
    """Return the model's counts; zeros where sentences were quoted and no model was asked."""
    usage = written.usage
    if usage is None:
        return ChatUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0, prompt_tokens_details=None)
    cached = usage.cached_tokens
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=None if cached is None else PromptDetails(cached_tokens=cached),
    )


def _finish(written: Written) -> Literal["stop", "length"]:
    return "length" if written.cut else "stop"


def _evidence(written: Written) -> ChatEvidence:
    return ChatEvidence(
        kind=written.answer.kind,
        citations=citation_replies(written.answer),
        flaws=flaw_replies(written),
        receipt=receipt_reply(written.receipt),
    )


async def _chunks(
    made: str, first: Event, events: AsyncGenerator[Event], service: Service, *, wants_usage: bool
) -> AsyncIterator[str]:
    created = int(time.time())

    def chunk(delta: ChunkDelta, last: Written | None = None) -> str:
        choice = ChunkChoice(delta=delta, finish_reason=None if last is None else _finish(last))
        evidence = None if last is None else _evidence(last)
        return _line(ChatChunk(id=made, created=created, model=MODEL, choices=[choice], winnow=evidence))

    try:
        yield chunk(ChunkDelta(role="assistant", content=""))
        async with contextlib.aclosing(events):
            event = first
            while not isinstance(event, Written):
                if isinstance(event, Piece):
                    # What was sent cannot be taken back in this API; a line sets the new beginning apart.
                    yield chunk(
                        ChunkDelta(content=f"\n\n---\n\n{event.text}" if event.restart else event.text)
                    )
                event = await anext(events)
        measure(service, event)
        yield chunk(ChunkDelta(), event)
        if wants_usage:
            yield _line(ChatChunk(id=made, created=created, model=MODEL, choices=[], usage=_usage(event)))
        yield "data: [DONE]\n\n"
    except WinnowError as error:
        logger.warning("answer_failed id=%s reason=%s", request_id(), error)
        problem = winnow_problem(error)
        body = {"error": {"message": problem["detail"], "type": problem["type"], "code": problem["status"]}}
        yield f"data: {json.dumps(body)}\n\n"


def _line(chunk: ChatChunk) -> str:
    return f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"
