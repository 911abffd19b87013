"""A question that asks several things, taken apart.

Source: Press et al., "Measuring and Narrowing the Compositionality Gap in
Language Models", EMNLP Findings 2023 (self-ask); here every part is searched
for at once, since each step of a chain would cost a call of the model.
"""

from __future__ import annotations

from retrieval.expansion.ask import ask, lines_of
from retrieval.expansion.records import Expanded
from retrieval.generation.protocol import Generator

MOST_PARTS = 4
_SIMPLE = "SIMPLE"

INSTRUCTION = f"""\
Does the question need facts that could stand in different places? If so, write the simple questions it \
consists of, at most {MOST_PARTS}, one on each line, each understandable alone, in the language of the \
question. If one passage could answer it, reply with exactly: {_SIMPLE}"""


async def decompose(
    generator: Generator, question: str, *, tenant: str, timeout_s: float, max_tokens: int = 160
) -> Expanded:
    """Return the parts of a question; no texts and no reason when it has only one."""

    def parse(reply: str) -> tuple[str, ...]:
        if reply.strip(" .\n").upper() == _SIMPLE:
            return ()
        return lines_of(reply, most=MOST_PARTS, without=question)

    return await ask(
        "decompose",
        generator,
        INSTRUCTION,
        f"Question: {question}",
        parse,
        tenant=tenant,
        timeout_s=timeout_s,
        max_tokens=max_tokens,
    )
