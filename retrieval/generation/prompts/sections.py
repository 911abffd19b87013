"""Passages widened to fixed sections of their documents.

A window is centred on the sentence that was found, so two questions about the
same paragraph show two different texts and a prefix cache serves neither.  A
section is the same text for every question: ordinals 0 to 14 of a document,
15 to 29, and so on.  Measured over Python's language reference, questions of
one document share 3.8 times as many tokens this way
(``benchmarks/prefix_cache``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from retrieval.generation.prompts.context import ContextPassage
from retrieval.records import SearchResult

if TYPE_CHECKING:  # the catalogue brings SQLAlchemy; widening needs only the shape of a row
    from indexing.catalog.records import Window

SECTION_SENTENCES = 15


def section_reach(size: int = SECTION_SENTENCES) -> int:
    """Return the window size that surely holds a sentence's section and the ones before and behind it."""
    return 2 * size - 1


def widen(
    results: Sequence[SearchResult], windows: Sequence[Window | None], size: int = SECTION_SENTENCES
) -> list[ContextPassage]:
    """Return the sections that hold the matched sentences of the results, best first, each once.

    A result whose window was merged from several hits gives the section of
    its best one first, then those of the others.

    Args:
        results: best first.
        windows: for each result, its sentence with :func:`section_reach` to
            each side; None where the document is gone, which leaves the
            result's own window.

    Page and heading belong to the sentence that was found, not to the section,
    and would end the shared prefix; they are not shown, and the pages are kept
    for citations.
    """
    found: dict[tuple[str, str, int | str], ContextPassage] = {}
    for result, window in zip(results, windows, strict=True):
        if window is None:
            found.setdefault(
                (result.doc_id, result.version, result.id), ContextPassage.of(result, len(found) + 1)
            )
            continue
        for ordinal in _matched(result, window, size):
            key = (result.doc_id, result.version, ordinal // size)
            if key not in found:
                passage = ContextPassage.of(result, len(found) + 1)
                found[key] = _section(passage, window, ordinal, size)
    return list(found.values())


def _matched(result: SearchResult, window: Window, size: int) -> Iterator[int]:
    """Yield the ordinals of the matched sentences, the best one first, up to a section away from it.

    A merged window is a few sentences long unless a request asks for wide ones.
    """
    yield result.ordinal
    near = range(result.ordinal // size - 1, result.ordinal // size + 2)
    by_span = {span: window.first + place for place, span in enumerate(window.spans)}
    for span in result.highlights:
        ordinal = by_span.get(span)
        if ordinal is not None and ordinal != result.ordinal and ordinal // size in near:
            yield ordinal


def _section(passage: ContextPassage, window: Window, ordinal: int, size: int) -> ContextPassage:
    """Return the section of a sentence, all of which lies within the window."""
    first = max(ordinal // size * size, window.first)
    last = min(ordinal // size * size + size - 1, window.last)
    spans = window.spans[first - window.first : last - window.first + 1]
    start, end = spans[0][0], spans[-1][1]
    return replace(
        passage,
        start=start,
        end=end,
        text=window.text[start - window.start : end - window.start],
        page=None,
        section="",
        match=window.spans[ordinal - window.first],
        pages=_pages(spans, window.pages[first - window.first : last - window.first + 1]),
    )


def _pages(
    spans: Sequence[tuple[int, int]], pages: Sequence[int | None]
) -> tuple[tuple[int, int | None], ...]:
    """Return where each page begins; nothing for a document without pages."""
    runs = groupby(zip(spans, pages, strict=False), key=lambda one: one[1])
    return tuple((next(run)[0][0], page) for page, run in runs)
