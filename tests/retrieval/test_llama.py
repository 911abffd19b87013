"""LlamaIndex adapters over a real index in the memory home: every way in finds the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.llms.mock import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from indexing.bridge import Bridge
from indexing.catalog import open_catalog
from indexing.collection.memory import open_memory
from indexing.errors import FilterError, QueryError
from indexing.ingest import TextItem, add_texts
from indexing.records import Embedding, Extraction
from indexing.session import Index, spec_of
from indexing.settings import load_settings
from retrieval.llama import WinnowRerank, WinnowRetriever, from_node, query_engine, to_node
from retrieval.llama_qdrant import qdrant_vector_store, tenant_filters
from retrieval.llama_store import WinnowEmbedding, WinnowVectorStore, to_filter
from retrieval.records import SearchRequest
from retrieval.reranker import RerankScores
from retrieval.search import Searcher
from tests.fakes.corpus import WordEncoders

DOCUMENTS = {
    "report": "Revenue grew slowly this year. Cash flow from operations was strong. Debt stayed flat.",
    "birds": "Swallows nest under roofs. A swallow eats flies and moths. They return in spring.",
    "bank": "A bank holds cash for its clients. The river bank was flooded. Operations resumed.",
    "zh": "燕子在屋檐下筑巢。公司现金很多。",
}
QUERIES = ["cash flow from operations", "swallow spring", "river", "debt of the bank"]


def facts(key: str, text: str) -> dict[str, str | int]:
    return {"kind": key[0], "size": len(text)}


class Opened:
    """An index with its searcher on one bridge."""

    def __init__(self, home: Path) -> None:
        self.encoders = WordEncoders()
        self.bridge = Bridge()
        self.settings = load_settings(home=home, collection={"home": "memory"})
        self.collection = self.bridge(open_memory, self.settings.collection, spec_of(self.encoders))
        self.index = Index(
            self.settings,
            open_catalog(self.settings),
            bridge=self.bridge,
            collection=self.collection,
            encoders=self.encoders,
        )
        add_texts(
            self.index,
            [
                TextItem(f"mem:{key}", Extraction(text, doc_id=key, metadata=facts(key, text)), "text/plain")
                for key, text in DOCUMENTS.items()
            ],
        )

        async def embed(query: str) -> Embedding:
            return self.encoders.embed_queries([query])[0]

        self.searcher = Searcher(
            self.collection,
            self.index.catalog,
            embed,
            retrieval=self.settings.retrieval,
            reranking=self.settings.rerank,
            coverage=self.encoders.coverage,
        )

    def retriever(self, **fields) -> WinnowRetriever:
        return WinnowRetriever(self.searcher, bridge=self.bridge, **fields)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    opened = Opened(tmp_path_factory.mktemp("home"))
    yield opened
    opened.index.close()


@pytest.fixture(scope="module")
def store(opened: Opened) -> WinnowVectorStore:
    return WinnowVectorStore(opened.index)


def asked(
    opened: Opened, text: str, mode: VectorStoreQueryMode, top_k: int = 20, **fields
) -> VectorStoreQuery:
    embedding = WinnowEmbedding(opened.encoders).get_query_embedding(text)
    return VectorStoreQuery(
        query_embedding=embedding, query_str=text, mode=mode, similarity_top_k=top_k, **fields
    )


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (VectorStoreQueryMode.DEFAULT, "dense"),
        (VectorStoreQueryMode.SPARSE, "sparse"),
        (VectorStoreQueryMode.HYBRID, "hybrid"),
    ],
)
def test_retriever_store_and_stock_store_find_the_same(opened, store, query, mode, name):
    retriever = opened.retriever(mode=name, fusion="rrf", top_k=20, top_n=20, window_size=0)
    wanted = retriever.search(query).results
    ours = store.query(asked(opened, query, mode))
    stock = qdrant_vector_store(
        opened.encoders, name=opened.settings.collection.name, aclient=opened.collection._client
    )
    theirs = asyncio.run(stock.aquery(asked(opened, query, mode, filters=tenant_filters())))
    # The stock store leaves ties as they come; by our rule they are ordered by id.
    rows = zip(theirs.similarities, theirs.ids, [node.text for node in theirs.nodes], strict=True)
    stock_rows = sorted(rows, key=lambda row: (-row[0], row[1]))
    assert len(wanted) > 0
    assert [one.id for one in wanted] == ours.ids == [row[1] for row in stock_rows]
    assert [one.text for one in wanted] == [node.text for node in ours.nodes]
    assert [one.text for one in wanted] == [row[2] for row in stock_rows]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_reaches_both_stores_alike_synchronously_and_not(opened, store, alpha):
    query = asked(opened, "cash flow bank", VectorStoreQueryMode.HYBRID, alpha=alpha)
    sync, later = store.query(query), asyncio.run(store.aquery(query))
    assert sync.ids == later.ids
    assert sync.similarities == later.similarities
    lone = VectorStoreQueryMode.SPARSE if alpha == 0 else VectorStoreQueryMode.DEFAULT
    if alpha in (0.0, 1.0):
        assert sync.ids == store.query(asked(opened, "cash flow bank", lone)).ids


def test_nodes_hold_the_window_and_the_place(opened):
    retriever = opened.retriever(window_size=1, top_n=2)
    found = retriever.retrieve("cash flow from operations")
    node = found[0].node
    result = retriever.search("cash flow from operations").results[0]
    assert node.node_id == result.id
    assert node.text == DOCUMENTS["report"][node.start_char_idx : node.end_char_idx]
    assert node.metadata["sentence"] == "Cash flow from operations was strong."
    assert DOCUMENTS["report"][node.metadata["start"] : node.metadata["end"]] == node.metadata["sentence"]
    assert (node.metadata["source"], node.ref_doc_id) == ("mem:report", "report")
    assert found[0].score == pytest.approx(result.score, rel=1e-6)


def test_no_metadata_reaches_an_embedder_or_a_model(opened):
    (found,) = opened.retriever(top_n=1).retrieve("swallow")
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert found.node.get_content(mode) == found.node.get_content(MetadataMode.NONE)


def test_synchronous_and_asynchronous_retrieval_agree(opened):
    retriever = opened.retriever()
    for query in QUERIES:
        later = asyncio.run(retriever.aretrieve(query))
        assert [one.node.node_id for one in retriever.retrieve(query)] == [one.node.node_id for one in later]


def test_a_retriever_on_its_callers_loop_awaits_there(opened):
    async def run() -> list[NodeWithScore]:
        return await WinnowRetriever(opened.searcher).aretrieve("swallow")

    assert asyncio.run(run())[0].node.metadata["doc_id"] == "birds"
    with pytest.raises(RuntimeError, match="aretrieve"):
        WinnowRetriever(opened.searcher).retrieve("swallow")


def test_cancelling_aretrieve_cancels_the_search(opened):
    seen: list[str] = []

    class Slow:
        async def search(self, request: SearchRequest) -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                seen.append(request.query)
                raise

    async def run() -> None:
        task = asyncio.create_task(WinnowRetriever(Slow(), bridge=opened.bridge).aretrieve("never"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            if seen:
                return
            await asyncio.sleep(0.02)

    asyncio.run(run())
    assert seen == ["never"]


def test_a_node_turns_back_into_its_result(opened):
    for result in opened.retriever().search("cash bank").results:
        again = from_node(to_node(result))
        for field in ("id", "text", "window", "start", "end", "highlights", "ranks", "scores", "sources"):
            assert getattr(again, field) == getattr(result, field)
    assert from_node(NodeWithScore(node=TextNode(text="elsewhere"))) is None


class LengthReranker:
    name = "length"
    kind = "cross-encoder"

    def __init__(self, scripts: frozenset[str] | None = None) -> None:
        self.scripts = scripts

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        return RerankScores(np.array([len(text) for text in texts], dtype=np.float32), (False,) * len(texts))


def test_the_postprocessor_ranks_by_logit_and_changes_no_node():
    nodes = [
        NodeWithScore(node=TextNode(id_=key, text=text, metadata={"file_name": "x" * 50}), score=0.5)
        for key, text in (("b", "mm"), ("a", "mm"), ("c", "mmmm"), ("d", "m"))
    ]
    before = [node.model_dump() for node in nodes]
    postprocessor = WinnowRerank(LengthReranker(), top_n=3)
    found = postprocessor.postprocess_nodes(nodes, query_str="q")
    assert [(one.node.node_id, one.score) for one in found] == [("c", 4.0), ("a", 2.0), ("b", 2.0)]
    assert [node.model_dump() for node in nodes] == before
    later = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_bundle=QueryBundle("q")))
    assert [one.node.node_id for one in later] == ["c", "a", "b"]
    with pytest.raises(QueryError):
        postprocessor.postprocess_nodes(nodes)


def test_the_postprocessor_steps_aside_for_what_its_model_cannot_read():
    texts = [("a", "m"), ("b", "公司现金很多"), ("c", "mmmm")]
    nodes = [NodeWithScore(node=TextNode(id_=key, text=text), score=0.5) for key, text in texts]
    postprocessor = WinnowRerank(LengthReranker(frozenset({"Latin"})))
    found = postprocessor.postprocess_nodes(nodes, query_str="cash")
    assert [(one.node.node_id, one.score) for one in found] == [("c", 4.0), ("b", 0.5), ("a", 1.0)]
    assert [one.node.node_id for one in postprocessor.postprocess_nodes(nodes, query_str="现金")] == [
        "a",
        "b",
        "c",
    ]


def test_the_extractive_engine_quotes_and_cites(opened):
    engine = query_engine(opened.retriever(), node_postprocessors=[WinnowRerank(LengthReranker())])
    for response in (engine.query("cash flow"), asyncio.run(engine.aquery("cash flow"))):
        assert response.metadata["kind"] == "extractive"
        for citation in response.metadata["citations"]:
            text = DOCUMENTS[citation["doc_id"]]
            assert text[citation["start"] : citation["end"]] == citation["quote"]
            assert f"{citation['quote']} {citation['label']}" in response.response


def test_an_llm_gets_the_windows_and_nothing_else(opened):
    engine = query_engine(opened.retriever(window_size=1, top_n=1), MockLLM())
    said = str(engine.query("cash flow from operations"))  # MockLLM repeats its prompt
    assert DOCUMENTS["report"] in said
    assert "mem:report" not in said


def test_the_store_serves_a_llama_index(opened, store):
    index = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    retriever = index.as_retriever(similarity_top_k=2, vector_store_query_mode="hybrid")
    assert retriever.retrieve("swallow eats flies")[0].node.ref_doc_id == "birds"


def test_a_chinese_query_uses_the_sparse_side_alone(opened, store):
    found = store.query(asked(opened, "现金", VectorStoreQueryMode.HYBRID))
    assert found.nodes[0].text == "公司现金很多。"
    assert store.query(asked(opened, "现金", VectorStoreQueryMode.DEFAULT)).ids == []


def filters(*found: MetadataFilter, condition: FilterCondition = FilterCondition.AND) -> MetadataFilters:
    return MetadataFilters(filters=list(found), condition=condition)


@pytest.mark.parametrize(
    ("given", "documents"),
    [
        (filters(MetadataFilter(key="kind", value="b")), {"bank", "birds"}),
        (filters(MetadataFilter(key="kind", value=["r", "z"], operator=FilterOperator.IN)), {"report", "zh"}),
        (
            filters(MetadataFilter(key="kind", value="b", operator=FilterOperator.NE)),
            {"report", "zh"},
        ),
        (
            filters(
                MetadataFilter(key="kind", value="b"),
                MetadataFilter(key="size", value=len(DOCUMENTS["bank"]), operator=FilterOperator.GTE),
            ),
            {key for key in ("bank", "birds") if len(DOCUMENTS[key]) >= len(DOCUMENTS["bank"])},
        ),
    ],
)
def test_llama_filters_reach_the_engine(opened, store, given, documents):
    query = asked(opened, "cash swallow bank 现金", VectorStoreQueryMode.SPARSE, top_k=50, filters=given)
    assert {node.ref_doc_id for node in store.query(query).nodes} == documents


@pytest.mark.parametrize(
    "given",
    [
        filters(
            MetadataFilter(key="a", value="b"),
            MetadataFilter(key="a", value="c"),
            condition=FilterCondition.OR,
        ),
        filters(MetadataFilter(key="a", value="b"), condition=FilterCondition.NOT),
        filters(MetadataFilter(key="a", value="b", operator=FilterOperator.TEXT_MATCH)),
        filters(MetadataFilter(key="tenant", value="other")),
    ],
)
def test_filters_that_cannot_be_kept_are_refused(given):
    with pytest.raises(FilterError):
        to_filter(VectorStoreQuery(filters=given))


def test_unknown_modes_and_arguments_are_refused(opened, store):
    with pytest.raises(QueryError, match="mmr"):
        store.query(asked(opened, "cash", VectorStoreQueryMode.MMR))
    with pytest.raises(QueryError, match="qdrant_filters"):
        store.query(asked(opened, "cash", VectorStoreQueryMode.DEFAULT), qdrant_filters=1)


def test_nodes_are_added_as_documents_and_deleted_again(tmp_path):
    opened = Opened(tmp_path)
    try:
        store = WinnowVectorStore(opened.index)
        node = TextNode(id_="note", text="A heron stands still. It waits for a fish.", metadata={"by": "me"})
        assert store.add([node]) == ["note"]
        (found, *_) = opened.retriever(top_n=1, window_size=1).retrieve("heron")
        assert found.node.text == node.text
        assert found.node.metadata["by"] == "me"
        store.delete("note")
        assert all(one.node.ref_doc_id != "note" for one in opened.retriever().retrieve("heron"))
        store.delete("note")  # nothing left: no error, as in other stores
    finally:
        opened.index.close()
