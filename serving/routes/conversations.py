"""/v1/conversations: begin, list, read, delete."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from serving.conversation_schemas import (
    ConversationReply,
    ConversationsReply,
    DeletedConversation,
    NewConversation,
    TurnReply,
    TurnsReply,
)
from serving.convert import citation_reply
from serving.deps import ServiceDep, TenantDep
from serving.replies import ModelResponse
from serving.routes.problems import NOT_FOUND
from serving.threads import in_thread, to_the_end

router = APIRouter(tags=["conversations"])


@router.post(
    "/v1/conversations", status_code=201, response_model=ConversationReply, summary="Begin a conversation"
)
async def begin(body: NewConversation, service: ServiceDep, tenant: TenantDep) -> Response:
    """Begin a conversation; name its id in `/v1/query` to ask in it."""
    made = await to_the_end(service.conversations.create, tenant, body.title)
    reply = ConversationReply(
        id=made.id, title=made.title, created_at=made.created_at, updated_at=made.updated_at, turns=0
    )
    return ModelResponse(reply, HTTPStatus.CREATED)


@router.get("/v1/conversations", response_model=ConversationsReply, summary="List conversations")
async def list_conversations(
    service: ServiceDep, tenant: TenantDep, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Response:
    """List conversations, the latest used first."""
    rows = await in_thread(service.conversations.list, tenant, limit=limit)
    return ModelResponse(
        ConversationsReply(
            conversations=[
                ConversationReply(
                    id=row.id,
                    title=row.title,
                    created_at=row.created_at,
                    updated_at=row.updated_at,
                    turns=row.turns,
                )
                for row in rows
            ]
        )
    )


@router.get(
    "/v1/conversations/{conversation_id}",
    response_model=TurnsReply,
    responses=NOT_FOUND,
    summary="Turns of a conversation",
)
async def read(conversation_id: str, service: ServiceDep, tenant: TenantDep) -> Response:
    """Return what was asked and answered, with the citations, the passages, and what did not hold."""
    saved = await in_thread(service.conversations.turns, tenant, conversation_id)
    turns = [
        TurnReply.model_validate(
            {
                "question": turn.question,
                "answer": turn.answer,
                "kind": turn.kind,
                "model": turn.model,
                "citations": [citation_reply(one) for one in turn.citations],
                "created_at": turn.created_at,
                "evidence": turn.evidence,
            }
        )
        for turn in saved
    ]
    return ModelResponse(TurnsReply(id=conversation_id, turns=turns))


@router.delete(
    "/v1/conversations/{conversation_id}",
    response_model=DeletedConversation,
    responses=NOT_FOUND,
    summary="Delete a conversation",
)
async def delete(conversation_id: str, service: ServiceDep, tenant: TenantDep) -> Response:
    """Delete a conversation with its turns."""
    await to_the_end(service.conversations.delete, tenant, conversation_id)
    return ModelResponse(DeletedConversation(id=conversation_id, deleted=True))
