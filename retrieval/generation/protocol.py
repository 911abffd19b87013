"""What the rooms ask of a language model, whatever server runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from indexing.records import DEFAULT_TENANT
from retrieval.spans import Span

Role = Literal["system", "user", "assistant"]
ResponseMode = Literal["compact", "refine", "tree_summarize"]
PassageUnit = Literal["sections", "windows"]

# The reason that the chat API gives for an answer which ``max_tokens`` ended.
CUT = "length"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call of the model; None means the configured default.

    Attributes:
        messages: the whole prompt; what stays the same comes first.
        tenant: gives the cache salt: tenants never share cached prefixes.
        prefix: text that decides the replica; requests with the same prefix
            go to the same one.  Empty: the first message.
        timeout_s: for the whole answer; the first token has its own limit.
        span: the stage that the call belongs to, where one is recorded.
    """

    messages: tuple[Message, ...]
    tenant: str = DEFAULT_TENANT
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    prefix: str = ""
    timeout_s: float | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """The server's own counts, and two clocks of ours.

    ``cached_tokens`` is None when the server does not say.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    first_token_ms: float | None = None
    tokens_per_s: float | None = None
    replica: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer; the last one carries ``finish`` and, where the server counts, ``usage``."""

    text: str = ""
    finish: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    text: str
    finish: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of each text; ``exact`` is False when no tokenizer was at hand and they are a bound."""

    counts: tuple[int, ...]
    exact: bool


class Generator(Protocol):
    """A language model; safe to share between tasks of one event loop.

    Cancelling a task that reads a stream, or closing the iterator, closes the
    upstream request.

    Raises (all methods):
        GenerationUnavailableError: no replica answers, or all are overloaded.
        GenerationTimeoutError: the first token, or the answer, did not come in time.
        GarbledAnswerError: what came is not of the protocol.
    """

    @property
    def model(self) -> str: ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]: ...

    async def complete(self, request: GenerationRequest) -> Completion: ...

    async def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the tokens of each text, by the model's own tokenizer."""
        ...

    async def check(self) -> str:
        """Return a line that says what answers; raises when nothing does."""
        ...

    async def aclose(self) -> None: ...
