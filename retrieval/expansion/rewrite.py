"""A follow-up question made to stand alone, so that it can be searched for."""

from __future__ import annotations

from collections.abc import Sequence

from indexing.languages import LATIN, script_shares
from retrieval.expansion.ask import ask
from retrieval.expansion.records import Expanded
from retrieval.generation.protocol import Generator, Message

INSTRUCTION = """\
Rewrite the last question so that it can be understood without the conversation: put names in place of \
"it", "they" or "there", and keep everything else. If it stands alone already, repeat it unchanged. \
Reply with the question only, in its language."""

_MOST_TURNS = 6
_MOST_CHARS = 600


async def standalone_question(
    generator: Generator,
    question: str,
    history: Sequence[Message],
    *,
    tenant: str,
    timeout_s: float,
    max_tokens: int = 120,
) -> Expanded:
    """Return the question that stands alone; without history nothing is asked of the model.

    Args:
        history: what was said, oldest first: questions and answers, without
            the passages that went with them.
    """
    if not history:
        return Expanded("rewrite", (question,), 0.0)
    said = [f"{one.role}: {one.content[:_MOST_CHARS]}" for one in history[-_MOST_TURNS:]]
    text = "Conversation:\n" + "\n".join(said) + f"\n\nLast question: {question}"

    def parse(reply: str) -> tuple[str, ...]:
        lines = [line.strip() for line in reply.splitlines() if line.strip()]
        if len(lines) != 1:
            raise ValueError(f"the model replied with {len(lines)} lines instead of one question")
        made = lines[0].removeprefix("Last question:").strip().strip('"“”')
        if not _in_its_script(made, question, history):
            raise ValueError("the model replied in another language")
        return (made,)

    return await ask(
        "rewrite",
        generator,
        INSTRUCTION,
        text,
        parse,
        tenant=tenant,
        timeout_s=timeout_s,
        max_tokens=max_tokens,
    )


def _in_its_script(made: str, question: str, history: Sequence[Message]) -> bool:
    """Whether a rewritten question keeps the script of the last one.

    A small model that translates the question has it searched for among the
    wrong documents.  A question of Latin letters alone may be a name
    ("PDF?"), which may go into the script that the conversation is in.
    """
    asked, now = script_shares(question), script_shares(made)
    if not asked or not now:
        return True
    main = max(asked, key=lambda script: asked[script])
    if main in now:
        return True
    said = script_shares(" ".join(one.content for one in history if one.role == "user"))
    return main == LATIN and any(script in said for script in now)
