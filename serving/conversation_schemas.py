"""The JSON of conversations; the rules of ``serving.schemas`` hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.schemas import (
    CitationReply,
    FlawReply,
    ReceiptReply,
    Reply,
    Request,
    ResultReply,
    UsageReply,
)


class ConversationReply(Reply):
    id: str
    title: str
    created_at: str
    updated_at: str
    turns: int


class ConversationsReply(Reply):
    """Conversations, the latest used first."""

    conversations: list[ConversationReply]


class Evidence(Reply):
    """What an answer rests on: kept with its turn, so that it can be shown again."""

    results: list[ResultReply] = Field(description="the passages, as they were when the question was asked")
    flaws: list[FlawReply]
    receipt: ReceiptReply
    usage: UsageReply | None


class TurnReply(Reply):
    question: str
    answer: str
    kind: Literal["extractive", "none", "generated"]
    model: str | None
    citations: list[CitationReply]
    created_at: str
    evidence: Evidence | None = Field(None, description="null for turns that an earlier version kept")


class TurnsReply(Reply):
    """One conversation's turns, oldest first."""

    id: str
    turns: list[TurnReply]


class NewConversation(Request):
    title: str = Field("", max_length=200)


class DeletedConversation(Reply):
    id: str
    deleted: bool
