"""What a teacher is told.

A pointwise prompt is cut in two: the *head* holds the instruction and the
query and is the same for every passage of a query, so the server's prefix
cache computes it once; the *item* holds the passage and what follows it.  The
cut is before the space that precedes the passage, where a byte-level BPE
splits anyway, so that the tokens are those of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.teachers.settings import PromptName

_RELEVANT = (
    "A passage is relevant when someone who typed the query finds the answer, or a clear part of it, "
    "in the passage. The same words or the same topic are not enough."
)
# The instruction the Qwen3-Reranker models were trained with; another may be given.
_QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass(frozen=True, slots=True)
class PointwisePrompt:
    """A yes/no question about one passage.

    ``chat``: the text is a user's message and goes through the server's own
    chat template, with thinking switched off.
    """

    name: PromptName
    head: str  # {instruction}, {query}
    tail: str  # follows the passage
    instruction: str
    chat: bool = False
    special_tokens: bool = True  # the server adds its own, such as BOS

    @property
    def text(self) -> str:
        """The whole prompt, with ``{query}`` and ``{passage}`` where they go."""
        frame = "{chat template: " if self.chat else ""
        head = self.head.replace("{instruction}", self.instruction)
        return f"{frame}{head} {{passage}}{self.tail}{'}' if self.chat else ''}"

    def cut(self, query: str) -> str:
        """The head for ``query``."""
        return _filled(self.head, {"instruction": self.instruction, "query": defused(query)})

    def item(self, passage: str) -> str:
        """The part for ``passage``."""
        return f" {defused(passage)}{self.tail}"


def pointwise_prompt(name: PromptName, instruction: str | None) -> PointwisePrompt:
    """Return the prompt called ``name``, with ``instruction`` in place of its own if given."""
    if name == "qwen3-reranker":
        # The format the Qwen3-Reranker model cards document.
        return PointwisePrompt(
            name,
            head=(
                "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
                'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
                "<|im_start|>user\n<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"
            ),
            tail="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            instruction=instruction or _QWEN3_INSTRUCTION,
            special_tokens=False,
        )
    chat = name == "yes-no-chat"
    return PointwisePrompt(
        name,
        head=(
            "You judge whether a passage is relevant to a search query. {instruction}\n"
            "Reply with one lower-case word, yes or no, and nothing else.\n\n"
            "Query: {query}\n\nPassage:"
        ),
        # Plain text ends with a line break, so that the next token is the word without a space.
        tail="\n\nIs the passage relevant to the query, yes or no?" + ("" if chat else "\nReply:\n"),
        instruction=instruction or _RELEVANT,
        chat=chat,
        special_tokens=not chat,
    )


_LIST_SYSTEM = (
    "You order passages by how well each answers a search query, best first. {instruction} "
    "Every passage has a number in square brackets."
)
_LIST_USER = (
    "Query: {query}\n\nThe {count} passages:\n\n{passages}\n\n"
    "Order all {count} passages for the query above, best first. Reply with the numbers alone, "
    "each once, in this form: [2] > [1] > [3]"
)


@dataclass(frozen=True, slots=True)
class ListwisePrompt:
    """A request for a permutation; the query stands before the passages."""

    instruction: str

    @property
    def text(self) -> str:
        """The whole prompt, with ``{query}``, ``{count}`` and ``{passages}`` where they go."""
        return f"system: {self._system}\nuser: {_LIST_USER}"

    @property
    def _system(self) -> str:
        return _LIST_SYSTEM.replace("{instruction}", self.instruction)

    def messages(self, query: str, passages: Sequence[str]) -> list[dict[str, str]]:
        """The chat messages for one window of passages, numbered from 1."""
        values = {
            "query": defused(query),
            "count": str(len(passages)),
            "passages": "\n".join(f"[{rank}] {defused(text)}" for rank, text in enumerate(passages, 1)),
        }
        return [
            {"role": "system", "content": self._system},
            {"role": "user", "content": _filled(_LIST_USER, values)},
        ]


def listwise_prompt(instruction: str | None) -> ListwisePrompt:
    """Return the permutation prompt, with ``instruction`` in place of its own if given."""
    return ListwisePrompt(instruction or _RELEVANT)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """``template`` with its fields filled in one pass: a value that holds ``{query}`` stays as it is."""
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda found: values[found[1]], template)


def defused(text: str) -> str:
    """``text`` without what a tokenizer would read as a control token.

    A passage that holds ``<|im_end|>`` could end its message and answer "yes"
    in the assistant's name; a space takes that away and changes nothing else.
    """
    return re.sub(r"<(?=\||/?think\b|/?s>)", "< ", text.strip())
