"""A searcher over a small corpus whose scores can be worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from indexing.records import Embedding
from indexing.settings import RerankSettings, RetrievalSettings
from retrieval.records import SearchRequest, SearchResponse
from retrieval.search import Searcher
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

CASH = (
    "The report covers one year. Revenue grew slowly. Cash flow from operations was strong. "
    "The cash balance doubled. Debt stayed flat. Staff numbers fell. Nobody left the board."
)
BIRDS = "Swallows nest under roofs. A swallow eats flies. They return in spring. Cash is not a bird."
CHINESE = "燕子在屋檐下筑巢。它们春天回来。公司现金很多。"


def corpus() -> list[FakeDocument]:
    return [
        FakeDocument("default", "cash", CASH, title="Annual report", sources=("a.txt", "b.txt")),
        FakeDocument("default", "birds", BIRDS, metadata={"kind": "nature"}),
        FakeDocument("default", "zh", CHINESE),
        FakeDocument("other", "secret", "Cash flow of somebody else. Cash flow again."),
    ]


class Bench:
    """A searcher with its fakes at hand."""

    def __init__(self, documents: Sequence[FakeDocument] | None = None, rerank=None, **reranking) -> None:
        documents = corpus() if documents is None else documents
        self.encoders = WordEncoders()
        self.collection = FakeCollection(documents, self.encoders)
        self.catalog = FakeCatalog(documents)
        self.delay_s = 0.0
        self.searcher = Searcher(
            self.collection,
            self.catalog,
            self.embed,
            retrieval=RetrievalSettings(),
            reranking=RerankSettings(**reranking),
            coverage=self.encoders.coverage,
            rerank=rerank,
        )

    async def embed(self, query: str) -> Embedding:
        await asyncio.sleep(self.delay_s)
        return self.encoders.embed_queries([query])[0]

    def __call__(self, query: str, *, timeout_s: float | None = None, **fields) -> SearchResponse:
        return asyncio.run(self.searcher.search(SearchRequest(query, **fields), timeout_s=timeout_s))


def stage(response: SearchResponse, name: str):
    return next(stage for stage in response.receipt.stages if stage.name == name)
