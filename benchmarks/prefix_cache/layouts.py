"""The same question over the same passages, laid out in different ways.

``ours`` is what the service sends.  The others hold exactly its passages, those
of earlier turns included, in the order of this question's ranking: ``rank
order`` with our instruction, ``turns kept`` with each turn left as it was sent,
and LlamaIndex's default question-answering prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from retrieval.generation.prompts import (
    INSTRUCTION,
    ContextPassage,
    Prompt,
    Turn,
    build_prompt,
    render_passage,
)
from retrieval.generation.protocol import Message

Layout = Literal["ours", "rank order", "rank order, turns kept", "llama-index"]
LAYOUTS: tuple[Layout, ...] = ("ours", "rank order", "rank order, turns kept", "llama-index")


@dataclass
class Dialogue:
    """One conversation, written down in every layout at once."""

    _turns: list[Turn] = field(default_factory=list)
    _said: list[Message] = field(default_factory=list)
    _kept: list[Message] = field(default_factory=list)

    def ask(
        self, question: str, passages: Sequence[ContextPassage], answer: str
    ) -> dict[Layout, tuple[Message, ...]]:
        """Return the prompts of the next question, and go on as if ``answer`` had been the reply."""
        prompt = build_prompt(question, passages, history=self._turns)
        system = Message("system", INSTRUCTION)
        ranked = by_rank(prompt, passages)
        new = [one for one in ranked if any(_same(one, shown) for shown in prompt.shown)]
        kept = (*self._kept, Message("user", _ours_by_rank(question, new)))
        made: dict[Layout, tuple[Message, ...]] = {
            "ours": prompt.messages,
            "rank order": (system, *self._said, Message("user", _ours_by_rank(question, ranked))),
            "rank order, turns kept": (system, *kept),
            "llama-index": llama_index_prompt(question, ranked, self._said),
        }
        reply = Message("assistant", answer)
        self._turns.append(Turn(prompt.user, answer, prompt.shown))
        self._said += [Message("user", question), reply]
        self._kept = [*kept, reply]
        return made


def by_rank(prompt: Prompt, found: Sequence[ContextPassage]) -> list[ContextPassage]:
    """Return every passage of the prompt, those that this question found first, best first."""

    def rank(one: ContextPassage) -> int:
        ranks = [other.rank for other in found if one.meets(other)]
        return min(ranks, default=1000 + one.label)

    ordered = sorted(prompt.passages, key=rank)
    return [replace(one, label=label, rank=label) for label, one in enumerate(ordered, start=1)]


def llama_index_prompt(
    question: str, passages: Sequence[ContextPassage], said: Sequence[Message]
) -> tuple[Message, ...]:
    """Return LlamaIndex's default chat prompt; earlier turns stand where its chat engines put them."""
    from llama_index.core.prompts.chat_prompts import CHAT_TEXT_QA_PROMPT
    from llama_index.core.schema import MetadataMode, TextNode

    nodes = [TextNode(text=one.text, metadata={"source": one.source}) for one in passages]
    context = "\n\n".join(node.get_content(MetadataMode.LLM) for node in nodes)
    first, *rest = CHAT_TEXT_QA_PROMPT.format_messages(context_str=context, query_str=question)
    return (
        Message("system", first.content or ""),
        *said,
        *(Message("user", one.content or "") for one in rest),
    )


def _ours_by_rank(question: str, passages: Sequence[ContextPassage]) -> str:
    return "\n\n".join([*(render_passage(one) for one in passages), f"Question: {question}"])


def _same(one: ContextPassage, other: ContextPassage) -> bool:
    return (one.doc_id, one.start, one.end) == (other.doc_id, other.start, other.end)
