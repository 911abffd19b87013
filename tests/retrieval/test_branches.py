"""Branches of a search: further texts, each with its own rankings, fused with the query's."""

from __future__ import annotations

import asyncio

import pytest

from indexing.errors import QueryError
from indexing.records import Embedding
from indexing.settings import RerankSettings, RetrievalSettings
from retrieval.plan import MAX_BRANCHES
from retrieval.records import Branch, SearchRequest, SearchResponse
from retrieval.search import Searcher
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

DOCUMENTS = [
    FakeDocument("default", "trams", "Trams run every ten minutes. The last tram leaves at midnight."),
    FakeDocument("default", "fares", "A ticket costs two crowns. Children pay half."),
    FakeDocument("other", "secret", "Night interval thirty minutes for somebody else."),
    FakeDocument("default", "nights", "Night interval thirty minutes. Depots close early."),
]


class Bench:
    def __init__(self, *, documents: bool = True) -> None:
        self.encoders = WordEncoders()
        self.as_documents: list[str] = []
        self.searcher = Searcher(
            FakeCollection(DOCUMENTS, self.encoders),
            FakeCatalog(DOCUMENTS),
            self.query,
            retrieval=RetrievalSettings(),
            reranking=RerankSettings(),
            coverage=self.encoders.coverage,
            embed_document=self.document if documents else None,
        )

    async def query(self, text: str) -> Embedding:
        return self.encoders.embed_queries([text])[0]

    async def document(self, text: str) -> Embedding:
        self.as_documents.append(text)
        return self.encoders.embed_documents([text])[0]

    def __call__(self, query: str, *branches: Branch, **fields: object) -> SearchResponse:
        request = SearchRequest(query, branches=branches, window_size=0, **fields)
        return asyncio.run(self.searcher.search(request))


def details(response: SearchResponse, name: str) -> dict[str, object]:
    return dict(next(one for one in response.receipt.stages if one.name == name).details)


def rank_of(response: SearchResponse, doc_id: str) -> int:
    return [one.doc_id for one in response.results].index(doc_id)


def test_without_branches_nothing_changes():
    bench = Bench()
    response = bench("trams run")
    assert details(response, "fuse")["method"] == RetrievalSettings().fusion
    assert "branches" not in details(response, "embed")


def test_a_branch_brings_up_what_only_it_finds():
    bench = Bench()
    plain = bench("ticket", mode="sparse")
    assert "nights" not in [one.doc_id for one in plain.results]
    response = bench("ticket", Branch("multi_query", "night interval"), mode="sparse")
    assert rank_of(response, "fares") == 0
    found = response.results[rank_of(response, "nights")]
    assert (found.ranks.dense, found.ranks.sparse) == (None, None)
    # Reciprocal rank fusion: rank 1 in a branch of weight .5, and the query's own of weight 1.
    assert found.score == pytest.approx(0.5 / 61)
    assert response.results[0].score == pytest.approx(1 / 61)
    fuse = details(response, "fuse")
    assert (fuse["method"], fuse["rankings"]) == ("rrf", 4)
    assert details(response, "embed")["branches"] == ["multi_query"]


def test_the_tenant_holds_in_every_branch():
    response = Bench()("ticket", Branch("multi_query", "night interval for somebody else"))
    assert "secret" not in [one.doc_id for one in response.results]


def test_a_hypothetical_passage_is_encoded_as_a_document():
    bench = Bench()
    text = "Trams run every ten minutes."
    response = bench("how often", Branch("hyde", text, "document"))
    assert bench.as_documents == [text]
    assert response.results[0].doc_id == "trams"
    with pytest.raises(QueryError, match="encodes none"):
        Bench(documents=False)("how often", Branch("hyde", text, "document"))


def test_an_asked_for_fusion_is_kept():
    response = Bench()("ticket", Branch("b", "night"), fusion="weighted")
    assert details(response, "fuse")["method"] == "weighted"


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        ([Branch("b", "  ")], "empty"),
        ([Branch("b", "x", weight=0)], "above 0"),
        ([Branch("b", "x", weight=float("nan"))], "above 0"),
        ([Branch("b", "x")] * (MAX_BRANCHES + 1), "at most"),
    ],
)
def test_a_branch_that_makes_no_sense_is_refused(branches: list[Branch], words: str):
    with pytest.raises(QueryError, match=words):
        Bench()("ticket", *branches)
