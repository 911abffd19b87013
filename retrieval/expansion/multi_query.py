"""The same question in other words; the rankings are fused by reciprocal rank.

Source: Rackauckas, "RAG-Fusion: a New Take on Retrieval-Augmented Generation",
2024, for the idea; the fusion is Cormack et al. 2009.
"""

from __future__ import annotations

from retrieval.expansion.ask import ask, lines_of
from retrieval.expansion.records import Expanded
from retrieval.generation.protocol import Generator

INSTRUCTION = """\
Reword the question for a search engine, in the language of the question.
Give as many versions as asked for, one on each line, each with other words and the same meaning. \
Keep names and numbers. No numbering, no comment."""


async def paraphrases(
    generator: Generator, question: str, *, count: int, tenant: str, timeout_s: float, max_tokens: int = 160
) -> Expanded:
    """Return up to ``count`` paraphrases, or the reason there are none."""
    return await ask(
        "multi_query",
        generator,
        INSTRUCTION,
        f"Versions: {count}\nQuestion: {question}",
        lambda reply: lines_of(reply, most=count, without=question),
        tenant=tenant,
        timeout_s=timeout_s,
        max_tokens=max_tokens,
    )
