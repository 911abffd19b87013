"""LlamaIndex's ``LLM`` over a :class:`Generator`, for its synthesizers; asynchronous calls only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
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

from indexing.errors import GenerationTimeoutError
from retrieval.generation.protocol import Chunk, GenerationRequest, Generator, Message, Role


class GeneratorLLM(CustomLLM):
    """One tenant's view of the model, for the calls of one answer; close it when the answer is over.

    Every call has the tenant, prefix, ``max_tokens`` and ``temperature`` of
    ``like``, whose messages are not used; its ``timeout_s`` is for all calls
    together, from the first one on.

    The blocking calls raise: they would hold a thread for seconds where the
    asynchronous ones do not.

    Args:
        ended: told when a call is over, with the reason and the server's counts.
    """

    _generator: Generator = PrivateAttr()
    _like: GenerationRequest = PrivateAttr()
    _ended: Callable[[Chunk], None] = PrivateAttr()
    _deadline: float | None = PrivateAttr(default=None)
    _spoke: bool = PrivateAttr(default=False)
    _open: set[AsyncGenerator[ChatResponse]] = PrivateAttr()
    _tasks: set[asyncio.Task[Any]] = PrivateAttr()

    def __init__(self, generator: Generator, like: GenerationRequest, ended: Callable[[Chunk], None]) -> None:
        super().__init__()
        self._generator = generator
        self._like = like
        self._ended = ended
        self._open = set()
        self._tasks = set()

    @property
    def spoke(self) -> bool:
        """Whether any call so far said more than white space."""
        return self._spoke

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self._generator.model, is_chat_model=True)

    async def aclose(self) -> None:
        """Close the calls that are still read.

        LlamaIndex's generators do not close the ones they read from, and of
        calls that run at once it leaves the others running when one fails.
        """
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for reading in self._open:
            await reading.aclose()
        self._open.clear()

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            async with contextlib.aclosing(self._call(messages)) as pieces:
                whole = "".join([piece async for piece in pieces])
        finally:
            self._tasks.discard(cast("asyncio.Task[Any]", task))
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=whole))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        async def pieces() -> AsyncGenerator[ChatResponse]:
            whole = ""
            async with contextlib.aclosing(self._call(messages)) as said:
                async for piece in said:
                    whole += piece
                    message = ChatMessage(role=MessageRole.ASSISTANT, content=whole)
                    yield ChatResponse(message=message, delta=piece)
            self._open.discard(reading)

        # Held here until it is closed: what LlamaIndex lets go of, the loop would close at any time.
        reading = pieces()
        self._open.add(reading)
        return reading

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        reply = await self.achat([ChatMessage(role=MessageRole.USER, content=prompt)])
        return CompletionResponse(text=reply.message.content or "")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError("use acomplete, achat or astream_chat")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError("use acomplete, achat or astream_chat")

    async def _call(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str]:
        """Yield the words of one call."""
        last = Chunk(finish="")
        try:
            async with contextlib.aclosing(self._generator.stream(self._request(messages))) as stream:
                async for chunk in stream:
                    last = Chunk(finish=chunk.finish or last.finish, usage=chunk.usage or last.usage)
                    if chunk.text:
                        self._spoke = self._spoke or not chunk.text.isspace()
                        yield chunk.text
        except GenerationTimeoutError as error:
            if self._left() > 0:
                raise
            raise self._late() from error
        self._ended(last)

    def _request(self, messages: Sequence[ChatMessage]) -> GenerationRequest:
        turns = tuple(Message(cast(Role, one.role.value), one.content or "") for one in messages)
        if self._like.timeout_s is None:
            return replace(self._like, messages=turns)
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._like.timeout_s
            return replace(self._like, messages=turns)
        left = self._left()
        if left <= 0:
            raise self._late()
        return replace(self._like, messages=turns, timeout_s=left)

    def _left(self) -> float:
        """Seconds until the answer has to be done."""
        if self._deadline is None:
            return float("inf")
        return self._deadline - asyncio.get_running_loop().time()

    def _late(self) -> GenerationTimeoutError:
        return GenerationTimeoutError(f"the answer was not done within {self._like.timeout_s:g} s")
