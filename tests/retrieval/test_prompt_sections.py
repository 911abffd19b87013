"""Passages widened to fixed sections: the same text, whatever was found in it."""

from __future__ import annotations

from indexing.catalog.records import Window
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
    return Window("t", "d", "v", first, last, start, end, TEXT[start:end], spans, "D", "file:d", ("file:d",))


def result(ordinal: int) -> SearchResult:
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
        highlights=((start, end),),
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
