"""An answer without a language model: the best sentences, verbatim and cited."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from retrieval.records import Answer, Citation, SearchResult

MAX_SENTENCES = 3
NOT_FOUND = "The documents do not answer this."
NOT_FOUND_ZH = "文档中没有找到答案。"

# A later result must reach this share of the best fused score: past it, a
# third sentence is padding rather than an answer.
_MIN_SHARE = 0.5
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_ENDS = re.compile(r"[.!?:;。！？：；…][\"'”’」』）)\]]*$")
_WORDS = re.compile(r"\w+")
_NUMBERS = re.compile(r"\d[\d.,]*")
# What parts the cells of a table row: its bar, or a column's name and what it holds.
_CELLS = re.compile(r"\||[:：]\s*\S")
_ITEM = re.compile(r"[-*+•‣▪·–—]\s|\(?\d{1,3}[.)]\s")
# A list's item of fewer words (of Chinese, characters) names a thing and says nothing of it.
_MIN_ITEM_WORDS = 4
# The border of a table, the line under a title.
_DRAWN = re.compile(r"[-=+|_~*#]{8,}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    result: SearchResult
    start: int
    end: int
    quote: str
    page: int | None
    key: str


def extract_answer(
    query: str, results: Sequence[SearchResult], *, max_sentences: int = MAX_SENTENCES
) -> Answer:
    """Return up to ``max_sentences`` matched sentences, quoted exactly and cited.

    Each result in rank order gives its best sentence, documents not quoted
    yet first, then further matched sentences of the same windows.  Passed over
    are sentences whose words were quoted already, and headings, bare list
    items and drawn tables while there is a statement to quote.  The text joins
    the quotes with their labels; ``kind`` is "extractive", or "none" when
    there is nothing to quote.

    Raises:
        ValueError: ``max_sentences`` is not positive.
    """
    if max_sentences < 1:
        raise ValueError(f"max_sentences is {max_sentences}; at least 1 sentence is quoted")
    candidates = list(_candidates(results))
    chosen = _choose([one for one in candidates if _is_statement(one)] or candidates, max_sentences)
    if not chosen:
        return Answer(not_found(query), (), "none")
    citations = tuple(
        Citation(
            label=f"[{number}]",
            doc_id=one.result.doc_id,
            source=one.result.source,
            page=one.page,
            start=one.start,
            end=one.end,
            quote=one.quote,
        )
        for number, one in enumerate(chosen, start=1)
    )
    text = " ".join(f"{_line(cite.quote)} {cite.label}" for cite in citations)
    return Answer(text, citations, "extractive")


def not_found(query: str) -> str:
    """Return "not in the documents" in the language of the query."""
    return NOT_FOUND_ZH if _HAN.search(query) else NOT_FOUND


def _candidates(results: Sequence[SearchResult]) -> Iterator[_Candidate]:
    """Yield each result's own sentence by rank, then the other matched ones.

    A cut by share of the best score applies only before the reranker: logits
    have no zero, so a share of one means nothing.
    """
    kept = list(_near_the_best(results))
    for result in kept:
        yield from _candidate(result, (result.start, result.end), result.page)
    for result in kept:
        for span, page in zip(result.highlights, result.highlight_pages, strict=True):
            if span != (result.start, result.end):
                yield from _candidate(result, span, page)


def _near_the_best(results: Sequence[SearchResult]) -> Iterator[SearchResult]:
    for result in results:
        best, score = results[0].scores.fused, result.scores.fused
        reranked = result.scores.rerank is not None
        if reranked or best is None or score is None or score >= _MIN_SHARE * best:
            yield result


def _candidate(result: SearchResult, span: tuple[int, int], page: int | None) -> Iterator[_Candidate]:
    """Yield the quote, cut from the window so that it equals the document's text."""
    start, end = span
    first, last = start - result.window_start, end - result.window_start
    if first < 0 or last > len(result.window):
        return
    quote = result.window[first:last]
    stripped = quote.strip()
    if not stripped:
        return
    start += quote.index(stripped)
    key = " ".join(_WORDS.findall(stripped.casefold())) or stripped
    yield _Candidate(result, start, start + len(stripped), stripped, page, key)


def _choose(candidates: Iterable[_Candidate], most: int) -> list[_Candidate]:
    """Pick by rank with new documents first, then order the picks by rank again.

    Documents already quoted wait until every other document had its turn;
    that is the whole diversity rule.
    """
    unique: list[_Candidate] = []
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.key not in seen:
            seen.add(candidate.key)
            unique.append(candidate)
    documents: set[str] = set()
    first: list[int] = []
    later: list[int] = []
    for position, candidate in enumerate(unique):
        (later if candidate.result.doc_id in documents else first).append(position)
        documents.add(candidate.result.doc_id)
    return [unique[position] for position in sorted((first + later)[:most])]


def _is_statement(candidate: _Candidate) -> bool:
    """Whether a quote says something: a heading or a bare item names its subject and stops.

    A sentence ends like one; a table row has cells and a number, or two
    numbers.  What is drawn with characters is neither.
    """
    quote = candidate.quote
    if _DRAWN.search(quote):
        return False
    item = _ITEM.match(quote)
    if item and _length(quote[item.end() :]) < _MIN_ITEM_WORDS:
        return False
    return bool(_ENDS.search(quote)) or len(_NUMBERS.findall(quote)) > (0 if _CELLS.search(quote) else 1)


def _length(text: str) -> int:
    """Return the number of words; Chinese, which parts none, counts by characters."""
    return len(_WORDS.findall(_HAN.sub(" 字 ", text)))


def _line(quote: str) -> str:
    """Return the quote on one line: a table row or a wrapped line keeps its words."""
    return " ".join(quote.split())
