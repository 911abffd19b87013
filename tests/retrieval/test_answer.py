"""Extractive answers: exact quotes, cited, no sentence twice."""

from __future__ import annotations

import asyncio

import pytest

from indexing.settings import RerankSettings, RetrievalSettings
from retrieval.answer import NOT_FOUND, NOT_FOUND_ZH, extract_answer
from retrieval.records import Ranks, Scores, SearchRequest, SearchResult
from retrieval.search import Searcher
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

TEXT = "Preface. Net cash was 5.4 million.\n The board met often. Costs fell by 3 percent. End."


def result(
    doc_id: str,
    quote: str,
    *,
    fused: float = 0.03,
    rerank: float | None = None,
    page: int | None = None,
    also: tuple[tuple[str, int | None], ...] = (),
    text: str = TEXT,
) -> SearchResult:
    """A result whose window is the whole text; ``also``: further matched sentences and pages."""
    start = text.index(quote)
    spans = {(start, start + len(quote)): page}
    for other, other_page in also:
        spans[text.index(other), text.index(other) + len(other)] = other_page
    return SearchResult(
        id=f"{doc_id}-{start}",
        doc_id=doc_id,
        source=f"{doc_id}.txt",
        title="",
        section="",
        page=page,
        text=quote,
        window=text,
        start=start,
        end=start + len(quote),
        score=fused if rerank is None else rerank,
        ranks=Ranks(),
        scores=Scores(fused=fused, rerank=rerank),
        window_start=0,
        window_end=len(text),
        highlights=tuple(sorted(spans)),
        highlight_pages=tuple(spans[span] for span in sorted(spans)),
        sources=(f"{doc_id}.txt",),
    )


def test_quotes_are_exact_labelled_and_cited():
    answer = extract_answer(
        "cash?", [result("a", "Net cash was 5.4 million.", page=3), result("b", "Costs fell by 3 percent.")]
    )
    assert answer.kind == "extractive"
    assert answer.text == "Net cash was 5.4 million. [1] Costs fell by 3 percent. [2]"
    assert [(one.label, one.doc_id, one.source, one.page) for one in answer.citations] == [
        ("[1]", "a", "a.txt", 3),
        ("[2]", "b", "b.txt", None),
    ]
    assert all(TEXT[one.start : one.end] == one.quote for one in answer.citations)


def test_nothing_found_says_so_in_the_language_of_the_question():
    assert extract_answer("cash?", []).text == NOT_FOUND
    assert extract_answer("现金有多少？", []).text == NOT_FOUND_ZH
    assert extract_answer("cash?", []).kind == "none"
    assert extract_answer("cash?", []).citations == ()


def test_the_same_words_are_quoted_once():
    answer = extract_answer("cash", [result("a", "Preface."), result("b", "Preface."), result("c", "End.")])
    assert [one.doc_id for one in answer.citations] == ["a", "c"]


def test_a_second_document_comes_before_a_second_sentence_of_the_first():
    first = result("a", "Net cash was 5.4 million.", also=(("Preface.", 1), ("End.", 9)))
    answer = extract_answer("cash", [first, result("b", "Costs fell by 3 percent.")], max_sentences=3)
    assert [(one.doc_id, one.quote) for one in answer.citations] == [
        ("a", "Net cash was 5.4 million."),
        ("b", "Costs fell by 3 percent."),
        ("a", "Preface."),
    ]
    assert answer.citations[2].page == 1
    assert len(extract_answer("cash", [first], max_sentences=2).citations) == 2


def test_far_weaker_results_are_not_quoted():
    strong, weak = result("a", "Preface.", fused=0.03), result("b", "End.", fused=0.014)
    assert [one.doc_id for one in extract_answer("q", [strong, weak]).citations] == ["a"]
    assert len(extract_answer("q", [strong, result("b", "End.", fused=0.016)]).citations) == 2


def test_logits_are_not_cut_by_share():
    results = [result("a", "Preface.", rerank=-1.0), result("b", "End.", fused=0.001, rerank=-9.0)]
    assert len(extract_answer("q", results).citations) == 2


def test_line_breaks_stay_in_the_quote_and_leave_the_text():
    answer = extract_answer("q", [result("a", "Net cash was 5.4 million.\n The board met often.")])
    assert answer.citations[0].quote == "Net cash was 5.4 million.\n The board met often."
    assert answer.text == "Net cash was 5.4 million. The board met often. [1]"


def test_white_space_around_a_sentence_is_not_quoted():
    answer = extract_answer("q", [result("a", "\n The board met often. ")])
    (citation,) = answer.citations
    assert citation.quote == "The board met often."
    assert TEXT[citation.start : citation.end] == citation.quote


def test_a_heading_is_quoted_only_when_nothing_else_was_found():
    text = "Contract Costs Revenue, 2019: 5 合同成本 它们很高。"
    heading = result("a", "Contract Costs", text=text)
    row = result("b", "Revenue, 2019: 5", text=text)
    chinese = result("c", "合同成本", text=text), result("d", "它们很高。", text=text)
    assert [one.doc_id for one in extract_answer("q", [heading, row, *chinese]).citations] == ["b", "d"]
    assert [one.doc_id for one in extract_answer("q", [heading]).citations] == ["a"]


def test_a_drawn_table_is_quoted_only_when_nothing_else_was_found():
    text = "| 0x1c | File Separator | +----------+--------+ A file is opened by open(). | 2019 | 5 |"
    drawn = result("a", "| 0x1c | File Separator | +----------+--------+", text=text)
    said = result("b", "A file is opened by open().", text=text)
    row = result("c", "| 2019 | 5 |", text=text)
    assert [one.doc_id for one in extract_answer("q", [drawn, said, row]).citations] == ["b", "c"]
    assert [one.doc_id for one in extract_answer("q", [drawn]).citations] == ["a"]


@pytest.mark.parametrize(
    "named",
    [
        "**PEP 343** - The “with” statement",
        "Chapter 3 Results",
        '* "import" statements.',
        "2) Net sales.",
        "- 成本。",
    ],
)
def test_a_title_or_a_bare_item_is_quoted_only_when_nothing_else_was_found(named: str):
    text = f"{named}\nA block is run in a context."
    name, said = result("a", named, text=text), result("b", "A block is run in a context.", text=text)
    assert [one.doc_id for one in extract_answer("q", [name, said]).citations] == ["b"]
    assert [one.quote for one in extract_answer("q", [name]).citations] == [named]


@pytest.mark.parametrize(
    "row",
    [
        "Year: 2019 | Net sales: 5",
        "Revenue, 2019: 5",
        "Net sales   3,100   2,900",
        "- Net sales rose in 2019.",
        "3. 公司现金很多。",
        "PEP 343 was accepted.",
    ],
)
def test_a_row_or_an_item_that_says_something_is_quoted(row: str):
    text = f"{row}\nA block is run in a context."
    said = result("a", row, text=text), result("b", "A block is run in a context.", text=text)
    assert [one.doc_id for one in extract_answer("q", said).citations] == ["a", "b"]


def test_zero_sentences_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        extract_answer("q", [], max_sentences=0)


@pytest.mark.parametrize("query", ["how much cash", "燕子什么时候回来？", "swallow flies", "现金"])
def test_quotes_of_a_real_search_equal_the_document(query):
    documents = [
        FakeDocument("default", "a", "Revenue grew. How much cash is there? Much cash. Debt fell."),
        FakeDocument("default", "b", "A swallow eats flies. Swallows return in spring."),
        FakeDocument("default", "c", "燕子在屋檐下筑巢。它们春天回来。公司现金很多。"),
    ]
    encoders = WordEncoders()

    async def embed(text: str):
        return encoders.embed_queries([text])[0]

    catalog = FakeCatalog(documents)
    searcher = Searcher(
        FakeCollection(documents, encoders),
        catalog,
        embed,
        retrieval=RetrievalSettings(),
        reranking=RerankSettings(),
        coverage=encoders.coverage,
    )
    answer = extract_answer(query, asyncio.run(searcher.search(SearchRequest(query))).results)
    assert answer.kind == "extractive"
    assert 1 <= len(answer.citations) <= 3
    for citation in answer.citations:
        assert catalog.text("default", citation.doc_id)[citation.start : citation.end] == citation.quote
        assert f"{citation.quote} {citation.label}" in answer.text
