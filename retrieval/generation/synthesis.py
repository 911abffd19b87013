"""Answers by LlamaIndex's synthesizers with our prompts, told as they are written.

``compact`` is one call over the passages it is given; ``refine`` goes group by
group; ``tree_summarize`` answers over each group and then over the answers.
Every call begins with the instruction and the conversation as it was sent, so
a prefix cache serves both; with one group all three send the prompt that
:func:`retrieval.generation.prompts.build_prompt` makes.  What the last call
says is the answer and comes token by token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

from llama_index.core.response_synthesizers.base import BaseSynthesizer

from retrieval.generation.llama_llm import GeneratorLLM
from retrieval.generation.prompts.context import ContextPassage, render_passage
from retrieval.generation.prompts.layout import INSTRUCTION, Prompt, Turn, build_prompt, closing
from retrieval.generation.prompts.packing import CountTokens
from retrieval.generation.protocol import Chunk, GenerationRequest, Generator, ResponseMode
from retrieval.generation.synthesizers import SEPARATOR, make_synthesizer


@dataclass(frozen=True, slots=True)
class Synthesis:
    """An answer that can be asked for: what is sent is known.

    ``prompt`` is what one call over all the passages would send: it names the
    labels, in every mode.  ``groups`` are the passages of each call.
    """

    prompt: Prompt
    groups: tuple[str, ...]
    _question: str
    _generator: Generator
    _like: GenerationRequest
    _make: Callable[[GeneratorLLM], BaseSynthesizer]

    async def stream(self) -> AsyncGenerator[Chunk]:
        """Yield the answer's pieces, and at the end of every call its reason and counts, without a text.

        The calls before the last run in a task of their own, so that the end
        of one is told while the next one runs.  Closing this generator ends
        whatever runs.

        Raises:
            GenerationError: a call failed.
        """
        ends: asyncio.Queue[Chunk | None] = asyncio.Queue()
        async with contextlib.aclosing(GeneratorLLM(self._generator, self._like, ends.put_nowait)) as llm:
            answering = asyncio.create_task(self._answer(llm))
            answering.add_done_callback(lambda _: ends.put_nowait(None))
            try:
                while (end := await ends.get()) is not None:
                    yield end
                said = await answering
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
            if isinstance(said, AsyncGenerator):
                async with contextlib.aclosing(said):
                    async for piece in said:
                        if piece:
                            yield Chunk(piece)
            elif llm.spoke:  # LlamaIndex's own words stand for an answer of none
                yield Chunk(str(said))
            while not ends.empty():
                if (end := ends.get_nowait()) is not None:
                    yield end

    async def _answer(self, llm: GeneratorLLM) -> object:
        """Return LlamaIndex's answer: a generator of pieces, or a text that stands."""
        return await self._make(llm).aget_response(query_str=self._question, text_chunks=list(self.groups))


async def prepare(
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
    """Return an answer over all passages: in one call, or ``budget`` tokens of them in each.

    Where the history shows every passage there is one call in every mode.

    Args:
        like: tenant and limits of every call; its messages are not used, and
            its ``timeout_s`` is for all of them together.
        history: earlier turns; every call repeats them, and what they show is
            not shown again.

    Raises:
        GenerationError: the tokens could not be counted.
    """
    prompt = build_prompt(question, passages, history=history, instruction=instruction)
    texts = [render_passage(one) for one in prompt.shown]
    groups = [SEPARATOR.join(texts)]
    bytes_a_group = len(groups[0].encode())
    if mode != "compact" and texts:
        counted = (await count(texts)).counts
        groups = _groups(texts, counted, budget)
        bytes_a_group = int(budget * sum(len(text.encode()) for text in texts) / max(1, sum(counted)))

    def make(llm: GeneratorLLM) -> BaseSynthesizer:
        return make_synthesizer(llm, mode, prompt.messages[:-1], bytes_a_group, shows=bool(texts))

    return Synthesis(
        prompt,
        tuple(groups),
        closing(question, prompt.ranked),
        generator,
        replace(like, prefix=prompt.prefix),
        make,
    )


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
    return [SEPARATOR.join(group) for group in groups]
