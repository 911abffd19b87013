"""What the model says, gathered while it is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from retrieval.generation.protocol import CUT, GenerationRequest, Generator, Usage
from serving.answering.records import Piece
from serving.answering.shown import ShownText


@dataclass(slots=True)
class ModelReply:
    """What the model has said so far; ``cut`` when its limit of tokens ended it."""

    text: str = ""
    usages: list[Usage] = field(default_factory=list)
    cut: bool = False


async def streamed(model: Generator, asked: GenerationRequest, reply: ModelReply) -> AsyncGenerator[Piece]:
    """Yield the model's words as they come, its thinking left out, and gather them in ``reply``."""
    shown = ShownText()
    async with contextlib.aclosing(model.stream(asked)) as chunks:
        async for chunk in chunks:
            if chunk.usage is not None:
                reply.usages.append(chunk.usage)
            reply.cut = reply.cut or chunk.finish == CUT
            text = shown.feed(chunk.text)
            if text:
                reply.text += text
                yield Piece(text, "generated")
    rest = shown.flush()
    if rest:
        reply.text += rest
        yield Piece(rest, "generated")
