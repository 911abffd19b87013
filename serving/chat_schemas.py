"""The OpenAI chat API as far as the service speaks it.

Fields of that API that would change the answer and are not supported here are
refused, not ignored.  ``winnow`` carries what the API has no field for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrieval.generation.protocol import PassageUnit, ResponseMode
from serving.schemas import CitationReply, ExpansionOptions, FlawReply, ReceiptReply, Reply, Request

MODEL = "winnow"


class TextPart(Request):
    type: Literal["text"]
    text: str


class ChatMessageBody(Request):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(Request):
    include_usage: bool = False


class WinnowOptions(ExpansionOptions):
    """Fields of ``/v1/query`` that the chat API lacks."""

    filter: dict[str, Any] | None = None
    top_k: int | None = Field(None, ge=1, le=1000)
    top_n: int | None = Field(None, ge=1, le=1000)
    rerank: bool | None = None
    response_mode: ResponseMode | None = None
    passages: PassageUnit | None = None
    generate: bool | None = None


class ChatBody(Request):
    """A chat completion; the last message is the question."""

    model: Literal["winnow"] = "winnow"
    messages: list[ChatMessageBody] = Field(min_length=1, max_length=1000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=8192)
    max_completion_tokens: int | None = Field(None, ge=1, le=8192)
    temperature: float | None = Field(None, ge=0, le=2)
    n: Annotated[int | None, Field(ge=1, le=1)] = None
    user: str | None = Field(None, description="accepted for compatibility; nothing depends on it")
    winnow: WinnowOptions = WinnowOptions()

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model": MODEL, "messages": [{"role": "user", "content": "how do I open a file"}]}]
        },
    )


class ModelReply(Reply):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "winnow"


class ModelsReply(Reply):
    object: Literal["list"] = "list"
    data: list[ModelReply]


class PromptDetails(Reply):
    cached_tokens: int


class ChatUsage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None


class ChatMessageReply(Reply):
    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(Reply):
    index: int = 0
    message: ChatMessageReply
    finish_reason: Literal["stop", "length"] = "stop"


class ChatEvidence(Reply):
    """What Winnow adds to an answer."""

    kind: Literal["extractive", "none", "generated"]
    citations: list[CitationReply]
    flaws: list[FlawReply]
    receipt: ReceiptReply


class ChatReply(Reply):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    winnow: ChatEvidence


class ChunkDelta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: ChunkDelta
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    winnow: ChatEvidence | None = None
