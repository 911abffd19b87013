"""LlamaIndex's response synthesizers, with our prompts, streaming."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.response_synthesizers import Refine, get_response_synthesizer
from llama_index.core.response_synthesizers import ResponseMode as LlamaMode
from llama_index.core.response_synthesizers.base import BaseSynthesizer

from retrieval.generation.llama_llm import GeneratorLLM
from retrieval.generation.protocol import Message, ResponseMode

SEPARATOR = "\n\n"
_PASSAGES = "{context_str}"
_QUESTION = "{query_str}"
_REFINE = (
    "{context_msg}\n\nAn answer from earlier passages:\n{existing_answer}\n\n{query_str}\n"
    "Improve that answer where these passages add to it or contradict it, and keep its labels. "
    "If they do not, repeat it unchanged."
)


class WholeChunks(PromptHelper):
    """Joins chunks up to ``context_window`` bytes and never cuts one.

    LlamaIndex's own joins everything and splits it by tokens again, through
    the middle of a fence.
    """

    def repack(self, prompt: Any, text_chunks: Sequence[str], *rest: Any, **named: Any) -> list[str]:
        joined: list[str] = []
        for chunk in text_chunks:
            longer = f"{joined[-1]}{SEPARATOR}{chunk}" if joined else chunk
            if joined and len(longer.encode()) <= self.context_window:
                joined[-1] = longer
            else:
                joined.append(chunk)
        return joined


class KeepingRefine(Refine):
    """``Refine`` for which a streamed call that says nothing leaves the answer as it was.

    LlamaIndex's does so for whole answers.  Of a streamed one it sees the
    generator alone, which is true whatever it holds, so that an empty last
    call would be the answer in place of all that the earlier ones found.
    """

    async def _aupdate_response(self, program: Any, program_kwargs: Any, response_kwargs: Any) -> Any:
        said = await super()._aupdate_response(program, program_kwargs, response_kwargs)
        if not isinstance(said, AsyncGenerator):
            return said
        begun = ""
        async for piece in said:
            begun += piece
            if begun.strip():
                return _resumed(begun, said)
        return None


async def _resumed(begun: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    yield begun
    async for piece in rest:
        yield piece


def make_synthesizer(
    llm: GeneratorLLM,
    mode: ResponseMode,
    before: Sequence[Message],
    bytes_a_group: int,
    *,
    shows: bool,
) -> BaseSynthesizer:
    """Return the synthesizer of a mode, whose ``aget_response`` gives an asynchronous generator.

    Args:
        before: the messages in front of the last one, in every call.
        bytes_a_group: how much of the answers over groups goes into one call.
        shows: whether there are passages; without them the question stands alone.
    """
    chat = _template(before, f"{_PASSAGES}{SEPARATOR}{_QUESTION}" if shows else _QUESTION)
    refine = _template(before, _REFINE)
    # Named tokenizers: without one LlamaIndex loads a vocabulary of 40 MB that nothing here asks.
    helper = WholeChunks(context_window=bytes_a_group, chunk_size_limit=None, tokenizer=list)
    chat_helper = ChatPromptHelper(tokenizer=list)
    if mode == "refine":
        return KeepingRefine(
            llm=llm,
            callback_manager=CallbackManager(),
            prompt_helper=helper,
            chat_prompt_helper=chat_helper,
            text_qa_template=chat,
            refine_template=refine,
            streaming=True,
        )
    return get_response_synthesizer(
        llm=llm,
        response_mode=LlamaMode(mode),
        callback_manager=CallbackManager(),
        text_qa_template=chat,
        summary_template=chat,
        refine_template=refine,
        prompt_helper=helper,
        chat_prompt_helper=chat_helper,
        use_async=True,
        streaming=True,
    )


def _template(before: Sequence[Message], last: str) -> ChatPromptTemplate:
    """Return the messages as they are, and ``last`` as the template of the user's message.

    What was said may hold braces, so it goes in as values: LlamaIndex fills a
    template once and leaves what it filled in alone.
    """
    names = [f"before_{place}" for place in range(len(before))]
    turns = [
        ChatMessage(role=MessageRole(one.role), content=f"{{{name}}}")
        for name, one in zip(names, before, strict=True)
    ]
    template = ChatPromptTemplate([*turns, ChatMessage(role=MessageRole.USER, content=last)])
    return template.partial_format(**{name: one.content for name, one in zip(names, before, strict=True)})
