"""What the model says, gathered while it is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from retrieval.generation.protocol import CUT, Chunk, Usage
from serving.answering.records import Piece
from serving.answering.shown import ShownText


@dataclass(slots=True)
class ModelReply:
    """What the model has said so far; ``cut`` when its limit of tokens ended a call."""

    text: str = ""
    usages: list[Usage] = field(default_factory=list)
    cut: bool = False


@dataclass(frozen=True, slots=True)
class CallDone:
    """One call of the model is over."""

    usage: Usage | None


async def streamed(chunks: AsyncGenerator[Chunk], reply: ModelReply) -> AsyncGenerator[Piece | CallDone]:
    """Yield the model's words as they come, its thinking left out, and gather them in ``reply``."""
    shown = ShownText()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            ended = chunk.finish is not None
            text = shown.feed(chunk.text) + (shown.flush() if ended else "")
            if text:
                reply.text += text
                yield Piece(text, "generated")
            if chunk.usage is not None:
                reply.usages.append(chunk.usage)
            if ended:
                reply.cut = reply.cut or chunk.finish == CUT
                yield CallDone(chunk.usage)
    rest = shown.flush()
    if rest:
        reply.text += rest
        yield Piece(rest, "generated")
