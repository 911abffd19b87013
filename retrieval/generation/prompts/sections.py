"""Passages widened to fixed sections of their documents.

A window is centred on the sentence that was found, so two questions about the
same paragraph show two different texts and a prefix cache serves neither.  A
section is the same text for every question: ordinals 0 to 14 of a document,
15 to 29, and so on.  Measured over Python's language reference, questions of
one document share 3.7 times as many tokens this way
(``benchmarks/prefix_cache``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from indexing.catalog.records import Window
from retrieval.generation.prompts.context import ContextPassage
from retrieval.records import SearchResult

SECTION_SENTENCES = 15


def section_reach(size: int = SECTION_SENTENCES) -> int:
    """Return the window size that surely holds the whole section of any of its sentences."""
    return size - 1


def widen(
    results: Sequence[SearchResult], windows: Sequence[Window | None], size: int = SECTION_SENTENCES
) -> list[ContextPassage]:
    """Return the sections that hold the results, best first, each once.

    Args:
        results: best first.
        windows: for each result, its sentence with :func:`section_reach` to
            each side; None where the document is gone, which leaves the
            result's own window.

    Page and heading belong to the sentence that was found, not to the section,
    and would end the shared prefix; they are left out.
    """
    found: dict[tuple[str, str, int], ContextPassage] = {}
    for result, window in zip(results, windows, strict=True):
        rank = len(found) + 1
        passage = ContextPassage.of(result, rank)
        key = (result.doc_id, result.version, result.ordinal // size)
        if key in found:
            continue
        found[key] = passage if window is None else _section(passage, window, result.ordinal, size)
    return list(found.values())


def _section(passage: ContextPassage, window: Window, ordinal: int, size: int) -> ContextPassage:
    first = max(ordinal // size * size, window.first)
    last = min(ordinal // size * size + size - 1, window.last)
    start = window.spans[first - window.first][0]
    end = window.spans[last - window.first][1]
    text = window.text[start - window.start : end - window.start]
    return replace(passage, start=start, end=end, text=text, page=None, section="")
