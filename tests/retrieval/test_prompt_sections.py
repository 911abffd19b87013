"""Passages widened to fixed sections: the same text, whatever was found in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from indexing.catalog.records import Window
from retrieval.generation.prompts import ContextPassage, gather_passages, render_passage
from retrieval.generation.prompts.sections import section_reach, widen
from retrieval.records import Ranks, Scores, SearchResult

SIZE = 4
SENTENCES = [f"Sentence number {number} of the document." for number in range(11)]
TEXT = " ".join(SENTENCES)
STARTS = [TEXT.index(sentence) for sentence in SENTENCES]
SPANS = [(start, start + len(sentence)) for start, sentence in zip(STARTS, SENTENCES, strict=True)]


def window(ordinal: int) -> Window:
    """What the catalogue gives for one sentence with the section's reach to each side."""
    reach = section_reach(SIZE)
    first, last = max(0, ordinal - reach), min(len(SPANS) - 1, ordinal + reach)
    start, end = SPANS[first][0], SPANS[last][1]
    spans = tuple(SPANS[first : last + 1])
    pages = tuple(1 + number // 3 for number in range(first, last + 1))
    return Window(
        tenant="t",
        doc_id="d",
        version="v",
        ordinal=ordinal,
        first=first,
        last=last,
        start=start,
        end=end,
        text=TEXT[start:end],
        spans=spans,
        title="D",
        source="file:d",
        sources=("file:d",),
        section="",
        metadata={},
        pages=pages,
    )


def result(ordinal: int, *others: int) -> SearchResult:
    start, end = SPANS[ordinal]
    text = SENTENCES[ordinal]
    return SearchResult(
        id=str(ordinal),
        doc_id="d",
        source="file:d",
        title="D",
        section=f"heading {ordinal}",
        page=ordinal,
        text=text,
        window=text,
        start=start,
        end=end,
        score=1.0,
        ranks=Ranks(),
        scores=Scores(),
        window_start=start,
        window_end=end,
        highlights=tuple(SPANS[one] for one in sorted({ordinal, *others})),
        sources=("file:d",),
        version="v",
        ordinal=ordinal,
    )


def test_every_sentence_of_a_section_shows_the_same_text() -> None:
    shown = {
        ordinal: widen([result(ordinal)], [window(ordinal)], SIZE)[0] for ordinal in range(len(SENTENCES))
    }
    for first in (0, 4, 8):
        sections = {shown[ordinal] for ordinal in range(first, min(first + SIZE, len(SENTENCES)))}
        assert len(sections) == 1
        section = sections.pop()
        assert section.text == " ".join(SENTENCES[first : first + SIZE])
        assert TEXT[section.start : section.end] == section.text


def test_results_of_one_section_become_one_passage_with_the_best_rank() -> None:
    found = [9, 1, 8, 0, 5]
    sections = widen([result(one) for one in found], [window(one) for one in found], SIZE)
    assert [(one.start, one.rank) for one in sections] == [(STARTS[8], 1), (STARTS[0], 2), (STARTS[4], 3)]


def test_a_document_that_is_gone_keeps_the_window_that_was_found() -> None:
    [kept] = widen([result(3)], [None], SIZE)
    assert (kept.text, kept.page, kept.section) == (SENTENCES[3], 3, "heading 3")


def test_every_matched_sentence_of_a_merged_window_is_shown_the_best_one_first() -> None:
    sections = widen([result(4, 3, 5), result(9)], [window(4), window(9)], SIZE)
    assert [(one.start, one.rank, one.match) for one in sections] == [
        (STARTS[4], 1, SPANS[4]),
        (STARTS[0], 2, SPANS[3]),
        (STARTS[8], 3, SPANS[9]),
    ]
    # The section of a neighbour is the same as for a question that found it there.
    assert widen([result(3)], [window(3)], SIZE)[0].text == sections[1].text


def test_pages_are_kept_for_citations_and_not_shown() -> None:
    [section] = widen([result(5)], [window(5)], SIZE)
    assert (section.page, section.section) == (None, "")
    assert [section.page_at(SPANS[number][0]) for number in range(4, 8)] == [2, 2, 3, 3]
    assert "page" not in render_passage(section)
    window_of = ContextPassage.of(result(5, 8)._replace(highlight_pages=(5, 6)), 1)
    assert [window_of.page_at(SPANS[number][0]) for number in (4, 5, 7, 8)] == [5, 5, 5, 6]


def test_windows_of_two_documents_that_are_gone_are_both_kept() -> None:
    kept = widen([result(3), result(2)], [None, None], SIZE)
    assert [one.text for one in kept] == [SENTENCES[3], SENTENCES[2]]


@pytest.mark.anyio
async def test_windows_are_read_once_and_only_for_sections() -> None:
    read: list[tuple[str, int, int]] = []

    async def reader(tenant: str, points: Sequence[str], size: int) -> list[None]:
        read.append((tenant, len(points), size))
        return [None] * len(points)

    found = [result(3), result(9)]
    assert len(await gather_passages(found, "windows", tenant="acme", read=reader)) == 2
    assert await gather_passages([], "sections", tenant="acme", read=reader) == []
    assert read == []
    await gather_passages(found, "sections", tenant="acme", read=reader)
    assert read == [("acme", 2, section_reach())]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
