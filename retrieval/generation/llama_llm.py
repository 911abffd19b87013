"""LlamaIndex's ``LLM`` over a :class:`Generator`, for its synthesizers; asynchronous calls only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.custom import CustomLLM
from pydantic import PrivateAttr

from retrieval.generation.protocol import CUT, GenerationRequest, Generator, Message, Role, Usage


class GeneratorLLM(CustomLLM):
    """One tenant's view of the model; collects the usage of every call in ``usages``.

    Every call has the tenant, prefix, ``max_tokens`` and ``temperature`` of
    ``like``, whose messages are not used.

    The blocking calls raise: they would hold a thread for seconds where the
    asynchronous ones do not.
    """

    _generator: Generator = PrivateAttr()
    _like: GenerationRequest = PrivateAttr()
    _usages: list[Usage] = PrivateAttr()
    _cut: bool = PrivateAttr(default=False)

    def __init__(self, generator: Generator, like: GenerationRequest) -> None:
        super().__init__()
        self._generator = generator
        self._like = like
        self._usages = []

    @property
    def usages(self) -> list[Usage]:
        """The server's counts of the calls so far."""
        return self._usages

    @property
    def cut(self) -> bool:
        """Whether the limit of tokens ended one of the calls so far."""
        return self._cut

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self._generator.model, is_chat_model=True)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        reply = await self._generator.complete(self._request(messages))
        if reply.usage is not None:
            self._usages.append(reply.usage)
        self._cut = self._cut or reply.finish == CUT
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=reply.text))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        async def pieces() -> AsyncGenerator[ChatResponse]:
            whole = ""
            async for chunk in self._generator.stream(self._request(messages)):
                whole += chunk.text
                if chunk.usage is not None:
                    self._usages.append(chunk.usage)
                self._cut = self._cut or chunk.finish == CUT
                message = ChatMessage(role=MessageRole.ASSISTANT, content=whole)
                yield ChatResponse(message=message, delta=chunk.text)

        return pieces()

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        reply = await self.achat([ChatMessage(role=MessageRole.USER, content=prompt)])
        return CompletionResponse(text=reply.message.content or "")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError("use acomplete, achat or astream_chat")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError("use acomplete, achat or astream_chat")

    def _request(self, messages: Sequence[ChatMessage]) -> GenerationRequest:
        turns = tuple(Message(cast(Role, one.role.value), one.content or "") for one in messages)
        return replace(self._like, messages=turns)
