"""What a question needs: the documents, no documents, or a question back."""

from __future__ import annotations

from typing import Literal

from retrieval.expansion.ask import ask
from retrieval.expansion.records import Expanded
from retrieval.generation.protocol import Generator

Route = Literal["retrieve", "answer", "ask"]

_WORDS: dict[str, Route] = {"RETRIEVE": "retrieve", "ANSWER": "answer", "ASK": "ask"}

INSTRUCTION = """\
Decide what a question to a document search service needs. Reply with one word.
RETRIEVE: it asks for facts that documents could hold. When in doubt, this one.
ANSWER: a greeting, thanks, or a question about the conversation itself; no document could help.
ASK: it cannot be understood: a bare word like "it", or words that could mean anything."""


async def classify(
    generator: Generator, question: str, *, tenant: str, timeout_s: float
) -> tuple[Route, Expanded]:
    """Return the route and the step for the receipt; "retrieve" when the model does not decide."""
    found: list[Route] = []

    def parse(reply: str) -> tuple[str, ...]:
        words = reply.replace(":", " ").replace(".", " ").split()
        route = _WORDS.get(words[0].upper()) if words else None
        if route is None:
            raise ValueError(f"the model replied {reply[:40]!r}, not one of {', '.join(_WORDS)}")
        found.append(route)
        return (route,)

    step = await ask(
        "classify",
        generator,
        INSTRUCTION,
        f"Question: {question}",
        parse,
        tenant=tenant,
        timeout_s=timeout_s,
        max_tokens=4,
    )
    return (found[0] if found else "retrieve"), step
