"""A reranker that cannot read a text leaves it where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.records import Embedding
from indexing.settings import RerankSettings, RetrievalSettings
from retrieval.records import SearchRequest, SearchResponse
from retrieval.reranker import RerankScores
from retrieval.search import Searcher
from retrieval.step_aside import permuted, score_known
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

ENGLISH = (
    "Cash flow fell, and cash flow rose, and then the cash flow fell.",
    "Cash rose again in spring.",
    "Cash is king.",
    "Cash flow is counted here.",
)
CHINESE = ("公司现金很多。", "现金流量增加了。", "现金 cash 不多。")


class ShortestFirst:
    """Prefers short texts; remembers what it was asked."""

    name = "test:shortest"
    kind = "cross-encoder"

    def __init__(self, scripts: frozenset[str] | None = frozenset({"Latin"})) -> None:
        self.scripts = scripts
        self.calls: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        self.calls.append(list(texts))
        return RerankScores(np.array([-len(text) for text in texts], np.float32), (True,) * len(texts))


def ask(query: str, reranker: ShortestFirst | None, **fields: object) -> SearchResponse:
    # A document a sentence: neighbours would be merged into one passage.
    documents = [
        FakeDocument("default", f"{language}-{number}", text)
        for language, texts in (("en", ENGLISH), ("zh", CHINESE))
        for number, text in enumerate(texts)
    ]
    encoders = WordEncoders()

    async def embed(text: str) -> Embedding:
        return encoders.embed_queries([text])[0]

    async def rerank(text: str, texts: Sequence[str]) -> RerankScores:
        assert reranker is not None
        return score_known(reranker, text, texts, 0.5)

    searcher = Searcher(
        FakeCollection(documents, encoders),
        FakeCatalog(documents),
        embed,
        retrieval=RetrievalSettings(),
        reranking=RerankSettings(),
        coverage=encoders.coverage,
        rerank=None if reranker is None else rerank,
    )
    return asyncio.run(searcher.search(SearchRequest(query, window_size=0, **fields)))  # type: ignore[arg-type]


def stage(response: SearchResponse) -> dict[str, object]:
    return dict(next(one for one in response.receipt.stages if one.name == "rerank").details)


def test_an_unknown_query_leaves_the_fused_order_and_is_not_degraded():
    reranker = ShortestFirst()
    before, after = ask("公司现金流量", None), ask("公司现金流量", reranker)
    assert len(before.results) > 1
    assert [one.id for one in after.results] == [one.id for one in before.results]
    assert reranker.calls == []
    assert after.receipt.degraded == ()
    assert stage(after)["rerank"] == "stepped aside"
    assert stage(after)["stepped_aside"] == "query"
    assert stage(after)["model"] == "test:shortest"
    assert all(one.ranks.rerank is None and one.scores.rerank is None for one in after.results)


def test_in_a_mixed_list_only_the_known_passages_change_places():
    query = "cash flow cash 现金"
    reranker = ShortestFirst()
    before, after = ask(query, None), ask(query, reranker)
    places = [rank for rank, one in enumerate(before.results) if one.doc_id.startswith("zh")]
    assert places, "the list must be mixed"
    assert [before.results[place].id for place in places] == [after.results[place].id for place in places]
    known = [one for one in after.results if one.doc_id.startswith("en")]
    assert [len(one.window) for one in known] == sorted(len(one.window) for one in known)
    assert [one.id for one in known] != [one.id for one in before.results if one.doc_id.startswith("en")]
    assert all(text in ENGLISH for text in reranker.calls[0])
    assert stage(after)["stepped_aside"] == f"{len(places)} passages"
    assert stage(after)["rerank"] == "on"
    for place, one in enumerate(after.results, start=1):
        assert one.ranks.rerank == (None if one.doc_id.startswith("zh") else place)


def test_a_model_of_every_script_reranks_everything():
    reranker = ShortestFirst(scripts=None)
    after = ask("公司现金流量", reranker)
    assert [len(one.window) for one in after.results] == sorted(len(one.window) for one in after.results)
    assert "stepped_aside" not in stage(after)


def test_the_cut_texts_are_those_that_were_scored():
    scores = score_known(ShortestFirst(), "cash", ["money", "现金", "more money"], 0.5)
    assert scores.truncated == (True, False, True)
    assert scores.known == (True, False, True)
    assert scores.logits.tolist() == [-5.0, 0.0, -10.0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=30))
def test_unknown_items_never_move_and_known_ones_are_sorted(pairs):
    items = list(range(len(pairs)))
    known = [one for one, _ in pairs]
    ranked = sorted((place for place in items if known[place]), key=lambda place: (-pairs[place][1], place))
    placed = permuted(items, ranked, known)
    assert sorted(placed) == items
    assert all(placed[place] == place for place in items if not known[place])
    scores = [pairs[one][1] for place, one in enumerate(placed) if known[place]]
    assert scores == sorted(scores, reverse=True)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.sampled_from(["cash", "cash flow now", "现金", "现金流量多", "cash 现金流量", "42", ""]),
        max_size=12,
    ),
    st.sampled_from(["cash flow", "现金流量", "42"]),
)
def test_no_text_below_the_coverage_reaches_the_model(texts, query):
    reranker = ShortestFirst()
    scores = score_known(reranker, query, texts, 0.5)
    sent = [text for call in reranker.calls for text in call]
    assert not any("流量" in text or text == "现金" for text in sent)
    assert sent == [text for text, one in zip(texts, scores.known or (), strict=True) if one]
    assert scores.query_known == (query != "现金流量")
