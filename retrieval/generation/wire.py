"""The bodies of the OpenAI chat API: what is sent, and a strict reading of what comes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.errors import GarbledAnswerError, GenerationError
from indexing.settings import GenerationSettings
from retrieval.generation.neutral import without_control_tokens
from retrieval.generation.protocol import Chunk, GenerationRequest, Usage

_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Delta(_Part):
    content: str | None = None


class _Choice(_Part):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Details(_Part):
    cached_tokens: _Count | None = None


class _Usage(_Part):
    prompt_tokens: _Count
    completion_tokens: _Count = 0
    prompt_tokens_details: _Details | None = None


class _Event(_Part):
    choices: tuple[_Choice, ...] | None = None
    usage: _Usage | None = None
    error: Any = None


class _Model(_Part):
    id: str = Field(min_length=1)


class _Models(_Part):
    data: tuple[_Model, ...] = Field(min_length=1)


def request_body(
    request: GenerationRequest, settings: GenerationSettings, model: str, salt: str
) -> dict[str, Any]:
    """Return the body of a streaming chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": one.role, "content": without_control_tokens(one.content)} for one in request.messages
        ],
        "max_tokens": request.max_tokens or settings.max_tokens,
        "temperature": settings.temperature if request.temperature is None else request.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if settings.cache_salt:
        body["cache_salt"] = salt
    if request.stop:
        body["stop"] = list(request.stop)
    return body


def parse_event(data: str, url: str) -> Chunk:
    """Return one event as a chunk; its usage has no clocks yet.

    Raises:
        GarbledAnswerError: it is not an event of the chat API.
        GenerationError: it says that the server failed half-way.
    """
    try:
        event = _Event.model_validate_json(data)
    except ValidationError as error:
        raise GarbledAnswerError(
            f"{url} sent an event that is not of the chat API: {data[:120]!r}"
        ) from error
    if event.error is not None:
        raise GenerationError(f"{url} failed half-way: {str(event.error)[:300]}")
    if event.choices is None and event.usage is None:
        raise GarbledAnswerError(f"{url} sent an event that is not of the chat API: {data[:120]!r}")
    choice = event.choices[0] if event.choices else _Choice()
    usage = None
    if event.usage is not None:
        details = event.usage.prompt_tokens_details
        usage = Usage(
            event.usage.prompt_tokens,
            event.usage.completion_tokens,
            None if details is None else details.cached_tokens,
        )
    return Chunk(choice.delta.content or "", choice.finish_reason, usage)


def parse_models(body: bytes, url: str) -> list[str]:
    """Return the names of the models that a server lists."""
    try:
        return [one.id for one in _Models.model_validate_json(body).data]
    except ValidationError as error:
        raise GarbledAnswerError(f"{url}/v1/models sent no list of models") from error
