"""A language model that replies as told and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from indexing.errors import GenerationTimeoutError
from retrieval.generation.protocol import Chunk, Completion, GenerationRequest, TokenCounts, Usage

Reply = str | Exception | None


class ScriptedGenerator:
    """``reply`` is a text, an error to raise, None for no answer at all, or a function of the request."""

    def __init__(self, reply: Reply | Callable[[GenerationRequest], Reply] = "") -> None:
        self.reply = reply
        self.requests: list[GenerationRequest] = []
        self.closed = 0
        self.fail_after: int | None = None  # words, then the error of ``failure``
        self.failure: Exception | None = None
        self.finish = "stop"  # "length": max_tokens ended the answer

    @property
    def model(self) -> str:
        return "scripted"

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        reply = self.reply(request) if callable(self.reply) else self.reply
        if reply is None:
            limit = 60 if request.timeout_s is None else request.timeout_s
            await asyncio.sleep(limit)
            raise GenerationTimeoutError(f"the answer was not done within {limit:g} s")
        if isinstance(reply, Exception):
            raise reply
        words = str(reply).split(" ")
        try:
            for position, word in enumerate(words):
                if self.failure is not None and position == self.fail_after:
                    raise self.failure
                await asyncio.sleep(0)
                yield Chunk(word if position == 0 else f" {word}")
            prompt = sum(len(one.content.split()) for one in request.messages)
            yield Chunk(finish=self.finish, usage=Usage(prompt, len(words), 0, 1.0, 10.0, "scripted"))
        finally:
            self.closed += 1

    async def complete(self, request: GenerationRequest) -> Completion:
        pieces: list[str] = []
        usage = None
        async for chunk in self.stream(request):
            pieces.append(chunk.text)
            usage = chunk.usage or usage
        return Completion("".join(pieces), self.finish, usage)

    async def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return TokenCounts(tuple(len(text.split()) for text in texts), exact=True)

    async def check(self) -> str:
        if isinstance(self.reply, Exception):
            raise self.reply
        return "scripted"

    async def aclose(self) -> None:
        return None
