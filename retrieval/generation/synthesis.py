"""Answers over more passages than one prompt holds: LlamaIndex's synthesizers, our prompts.

``compact`` puts as much as fits into each call and refines over the rest;
``refine`` goes group by group; ``tree_summarize`` answers over each group and
then over the answers.  Every call begins with the instruction and the
conversation as it was sent, so a prefix cache serves both; with one group all
three send the prompt that :func:`retrieval.generation.prompts.build_prompt`
makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.response_synthesizers import ResponseMode as LlamaMode
from llama_index.core.response_synthesizers import get_response_synthesizer

from retrieval.generation.llama_llm import GeneratorLLM
from retrieval.generation.prompts.context import ContextPassage, render_passage
from retrieval.generation.prompts.layout import INSTRUCTION, Turn, build_prompt, closing
from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.protocol import GenerationRequest, Generator, Message, ResponseMode, Usage

_SEPARATOR = "\n\n"
_REFINE = (
    "{context_msg}\n\nAn answer from earlier passages:\n{existing_answer}\n\n{query_str}\n"
    "Improve that answer where these passages add to it or contradict it, and keep its labels. "
    "If they do not, repeat it unchanged."
)


@dataclass(frozen=True, slots=True)
class Synthesis:
    """The text, the labelled passages behind it, and what the calls took.

    ``passages`` holds every one of the conversation, ``shown`` those that the
    calls showed, ``ranked`` those that the question found, old and new.
    ``cut``: the limit of tokens ended a call.
    """

    text: str
    passages: tuple[ContextPassage, ...]
    shown: tuple[ContextPassage, ...]
    ranked: tuple[ContextPassage, ...]
    groups: int
    usages: tuple[Usage, ...]
    cut: bool = False


class WholeChunks(PromptHelper):
    """Joins chunks up to ``context_window`` bytes and never cuts one.

    LlamaIndex's own joins everything and splits it by tokens again, through
    the middle of a fence.
    """

    def repack(self, prompt: Any, text_chunks: Sequence[str], *rest: Any, **named: Any) -> list[str]:
        joined: list[str] = []
        for chunk in text_chunks:
            longer = f"{joined[-1]}{_SEPARATOR}{chunk}" if joined else chunk
            if joined and len(longer.encode()) <= self.context_window:
                joined[-1] = longer
            else:
                joined.append(chunk)
        return joined


async def synthesize(
    question: str,
    passages: Sequence[ContextPassage],
    generator: Generator,
    *,
    mode: ResponseMode,
    budget: int,
    count: CountTokens,
    like: GenerationRequest,
    history: Sequence[Turn] = (),
    instruction: str = INSTRUCTION,
) -> Synthesis:
    """Return an answer over all passages, ``budget`` tokens of them in each call.

    Args:
        like: tenant and limits of every call; its messages are not used.
        history: earlier turns; every call repeats them, and what they show is
            not shown again.

    Raises:
        GenerationError: a call failed.
        ValueError: there is no passage that the history does not show.
    """
    prompt = build_prompt(question, passages, history=history, instruction=instruction)
    if not prompt.shown:
        raise ValueError("nothing to answer from that was not shown before")
    texts = [render_passage(one) for one in prompt.shown]
    counted = (await count(texts)).counts
    groups = _groups(texts, counted, budget)
    bytes_a_token = sum(len(text.encode()) for text in texts) / max(1, sum(counted))
    llm = GeneratorLLM(generator, replace(like, prefix=prompt.prefix))
    before = prompt.messages[:-1]
    chat = _template(before, "{context_str}\n\n{query_str}")
    synthesizer = get_response_synthesizer(
        llm=llm,
        response_mode=LlamaMode(mode),
        text_qa_template=chat,
        summary_template=chat,
        refine_template=_template(before, _REFINE),
        prompt_helper=WholeChunks(context_window=int(budget * bytes_a_token), chunk_size_limit=None),
        use_async=True,
    )
    text = await synthesizer.aget_response(query_str=closing(question, prompt.ranked), text_chunks=groups)
    return Synthesis(
        str(text),
        prompt.passages,
        prompt.shown,
        prompt.ranked,
        len(groups),
        tuple(llm.usages),
        llm.cut,
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


def _groups(texts: Sequence[str], tokens: Sequence[int], budget: int) -> list[str]:
    groups: list[list[str]] = []
    used = 0
    for text, size in zip(texts, tokens, strict=True):
        if groups and used + size <= budget:
            groups[-1].append(text)
            used += size
        else:
            groups.append([text])
            used = size
    return [_SEPARATOR.join(group) for group in groups]
