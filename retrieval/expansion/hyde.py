"""HyDE: a passage that would answer the question, searched for beside it.

Source: Gao, Ma, Lin and Callan, "Precise Zero-Shot Dense Retrieval without
Relevance Labels", ACL 2023.  The passage is encoded as a document is, by both
encoders, and is a branch of its own: averaged into the query's vector it could
not be switched off for a query it harms, and the sparse side would not see it.
"""

from __future__ import annotations

from retrieval.expansion.ask import ask
from retrieval.expansion.records import Expanded
from retrieval.generation.protocol import Generator

INSTRUCTION = """\
Write one short passage, two to four sentences, as it could stand in a document that answers the question.
Write in the language of the question. State things plainly. No introduction, no list, no comment."""

_FENCE = "```"


async def hypothetical_passage(
    generator: Generator, question: str, *, tenant: str, timeout_s: float, max_tokens: int = 160
) -> Expanded:
    """Return one hypothetical passage, or the reason there is none."""

    def parse(reply: str) -> tuple[str, ...]:
        text = " ".join(reply.replace(_FENCE, " ").split())
        if not text:
            raise ValueError("the model wrote nothing")
        return (text,)

    return await ask(
        "hyde",
        generator,
        INSTRUCTION,
        f"Question: {question}",
        parse,
        tenant=tenant,
        timeout_s=timeout_s,
        max_tokens=max_tokens,
    )
