"""Checks a written answer against the passages it was given.

Every label must exist, every quotation must stand in a passage, and every
sentence must rest on something: a sentence is supported when enough of its
content words stand in the passages that it names.  Word overlap sees a wrong
source and an invented number; it does not see a "not" that was dropped, so a
supported sentence is one worth checking, not one proven.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from indexing.encoders.analysis import Analyzer, words_of
from indexing.sentences import split_sentences
from retrieval.generation.prompts.context import ContextPassage
from retrieval.generation.prompts.layout import NOT_IN_DOCUMENTS
from retrieval.generation.quotes import find_quote
from retrieval.records import Citation

_LABEL = re.compile(r"\[(\d{1,4})\]")
_LABEL_RUN = re.compile(r"(?:\s*\[\d{1,4}\])+")
_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_QUOTED = re.compile(r"[\"“”「『]([^\"“”「」『』]{2,}?)[\"“”」』]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Words shared with the named passages for a sentence to count as supported.
MIN_SUPPORT = 0.5
# Shorter quotations ("yes", a term in quotation marks) are names, not evidence.
_MIN_QUOTE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with the answer's text at ``start:end``."""

    kind: Literal["unknown label", "quote not found", "no label", "not supported"]
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """The answer's text, what it cites, and what does not hold.

    ``text`` has unknown labels taken out.  ``citations`` has one entry for
    each label and source sentence, or the words that are quoted from it, in
    order of first use.  ``answered`` is
    False when the model says that the documents hold no answer.
    """

    text: str
    citations: tuple[Citation, ...]
    flaws: tuple[Flaw, ...]
    answered: bool


def strip_thinking(text: str) -> str:
    """Return the text without the model's ``<think>`` blocks, an unfinished one included."""
    return _THINKING.sub("", text).strip()


def check_answer(
    answer: str, passages: Sequence[ContextPassage], *, min_support: float = MIN_SUPPORT
) -> CheckedAnswer:
    """Return the checked answer; offsets of citations point into the documents' texts.

    Args:
        answer: what the model wrote.
        passages: the labelled passages of its prompt.
        min_support: share of a sentence's content words, 0 to 1.
    """
    text = strip_thinking(answer)
    if _declines(text):
        return CheckedAnswer(text, (), (), answered=False)
    known = {one.label: one for one in passages}
    text, flaws = _without_unknown(text, known)
    citations: list[Citation] = []
    for start, end in _statements(text):
        labels = [int(found) for found in _LABEL.findall(text[start:end])]
        named = [known[label] for label in dict.fromkeys(labels)]
        claim = _LABEL_RUN.sub("", text[start:end]).strip()
        flaws += _sentence_flaws(claim, start, end, named, list(known.values()), min_support)
        quotes = _quotes(claim)
        for one in named:
            citations += _quoted(quotes, one) or [_cite(claim, one)]
    return CheckedAnswer(text, tuple(dict.fromkeys(citations)), tuple(flaws), answered=True)


def _declines(text: str) -> bool:
    """Whether the reply is the agreed phrase, give or take its full stop and its case."""
    return not text or text.strip(" .。!\"'*\n").casefold() == NOT_IN_DOCUMENTS.casefold()


def _without_unknown(text: str, known: Mapping[int, ContextPassage]) -> tuple[str, list[Flaw]]:
    flaws: list[Flaw] = []
    pieces: list[str] = []
    at = 0
    for found in _LABEL.finditer(text):
        if int(found[1]) in known:
            continue
        kept = text[at : found.start()]
        pieces.append(kept)
        place = sum(map(len, pieces))
        flaws.append(Flaw("unknown label", place, place, found[0]))
        at = found.end()
    pieces.append(text[at:])
    return "".join(pieces), flaws


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Yield sentences; labels that follow a full stop ("So it is. [2]") belong to what they follow."""
    start: int | None = None
    end = 0
    for first, last in split_sentences(text):
        run = _LABEL_RUN.match(text, first, last)
        if run is not None and start is not None:
            end = run.end()
            first += len(text[first:last]) - len(text[run.end() : last].lstrip())
            if first >= last:
                continue
        if start is not None:
            yield start, end
        start, end = first, last
    if start is not None:
        yield start, end


def _sentence_flaws(
    claim: str,
    start: int,
    end: int,
    named: Sequence[ContextPassage],
    everything: Sequence[ContextPassage],
    min_support: float,
) -> list[Flaw]:
    if not _terms(claim):
        return []
    if not named:
        return [Flaw("no label", start, end, claim)]
    flaws = [
        Flaw("quote not found", start, end, quote)
        for quote in _quotes(claim)
        if not any(find_quote(quote, one.text) for one in everything)
    ]
    if support(claim, " ".join(one.text for one in named)) < min_support:
        flaws.append(Flaw("not supported", start, end, claim))
    return flaws


def support(claim: str, source: str) -> float:
    """Return the share of the claim's terms that stand in the source; 0 when a number of it does not."""
    terms = _terms(claim)
    if not terms:
        return 1.0
    numbers = {_digits(found) for found in _NUMBER.findall(claim)}
    if not numbers <= {_digits(found) for found in _NUMBER.findall(source)}:
        return 0.0
    return len(terms & _terms(source)) / len(terms)


def _digits(number: str) -> str:
    return number.replace(",", "")


def _quotes(claim: str) -> list[str]:
    return [quote for quote in _QUOTED.findall(claim) if len(words_of(quote)) >= _MIN_QUOTE_WORDS]


def _quoted(quotes: Sequence[str], passage: ContextPassage) -> list[Citation]:
    """Return the very words that the claim quotes from this passage."""
    found = (find_quote(quote, passage.text) for quote in quotes)
    return [_citation(passage, start, end) for start, end in filter(None, found)]


def _cite(claim: str, passage: ContextPassage) -> Citation:
    """Return the passage's sentence that says most of the claim."""
    spans = split_sentences(passage.text) or [(0, len(passage.text))]
    wanted = _terms(claim)

    def worth(span: tuple[int, int]) -> tuple[float, int]:
        found = _terms(passage.text[span[0] : span[1]])
        shared = len(wanted & found)
        return (shared / (len(found) + len(wanted) - shared or 1), -span[0])

    return _citation(passage, *max(spans, key=worth))


def _citation(passage: ContextPassage, start: int, end: int) -> Citation:
    return Citation(
        label=f"[{passage.label}]",
        doc_id=passage.doc_id,
        source=passage.source,
        page=passage.page_at(passage.start + start),
        start=passage.start + start,
        end=passage.start + end,
        quote=passage.text[start:end],
    )


@lru_cache(maxsize=1)
def _analyzer() -> Analyzer:
    return Analyzer(stem=True)


def _terms(text: str) -> frozenset[str]:
    return frozenset(_analyzer().terms(text))
