"""What an answer is asked with, and the events it is told in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from retrieval.generation.citations import Flaw
from retrieval.generation.prompts import ContextPassage, Turn
from retrieval.generation.protocol import Message, PassageUnit, ResponseMode, Usage
from retrieval.records import Answer, Receipt, SearchRequest, SearchResult, Stage


@dataclass(frozen=True, slots=True)
class Expand:
    """Which expansions to make; ``multi_query`` is how many paraphrases, 0 for none."""

    classify: bool = False
    rewrite: bool = True
    hyde: bool = False
    multi_query: int = 0
    decompose: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A question with everything that decides its answer.

    Attributes:
        history: earlier turns as they were sent to the model.
        said: the same turns as they were said, for rewriting the question.
        generate: False answers with quoted sentences even where a model is
            configured.
        cache: whether a kept answer may serve, where keeping is on.
        system: what the caller adds to the instruction.
        passages: what a prompt shows of the results; None as configured.
    """

    search: SearchRequest
    expand: Expand = Expand()
    response_mode: ResponseMode = "compact"
    max_sentences: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    history: tuple[Turn, ...] = ()
    said: tuple[Message, ...] = ()
    generate: bool = True
    cache: bool = True
    system: str = ""
    passages: PassageUnit | None = None


@dataclass(frozen=True, slots=True)
class StageDone:
    """A step is over."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Found:
    """The passages are known."""

    results: tuple[SearchResult, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the labels of the answer's pieces mean; the checked citations come with the whole answer."""

    passages: tuple[ContextPassage, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the answer's text, to be joined; ``restart`` discards the pieces before it."""

    text: str
    kind: Literal["extractive", "none", "generated"]
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The whole answer, checked.

    ``turn`` is what a conversation keeps so that the next prompt begins with
    this one; None when no model was asked.  ``usage`` sums the model's calls.
    ``cut``: the limit of tokens ended what the model wrote.
    """

    answer: Answer
    results: tuple[SearchResult, ...]
    receipt: Receipt
    flaws: tuple[Flaw, ...] = ()
    passages: tuple[ContextPassage, ...] = ()
    usage: Usage | None = None
    turn: Turn | None = None
    model: str | None = None
    cached: bool = False
    question: str = ""
    cut: bool = False


Event = StageDone | Found | Labelled | Piece | Written


@dataclass(slots=True)
class Draft:
    """An answer in the making: the receipt grows with each step."""

    stages: list[Stage] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)

    def receipt(self) -> Receipt:
        return Receipt(tuple(self.stages), tuple(self.degraded))
