"""LlamaIndex adapters: a retriever, a reranker and a query engine over the searcher.

The vector store is in ``retrieval.llama_store``.  Importing this module
imports llama_index (2 to 3 seconds); nothing else in this package does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from pydantic import Field, PrivateAttr

from indexing.bridge import Bridge
from indexing.errors import QueryError
from indexing.records import DEFAULT_TENANT, Mode
from indexing.settings import Settings
from retrieval.answer import MAX_SENTENCES, extract_answer
from retrieval.records import Ranks, Scores, SearchRequest, SearchResponse, SearchResult
from retrieval.reranker import Reranker, order
from retrieval.search import Searcher
from retrieval.step_aside import permuted, score_known

# A node carries its search result under this key, so that an answer can be cited.
RESULT_KEY = "winnow"


def to_node(result: SearchResult) -> NodeWithScore:
    """Return one result as a node: id of the sentence's point, text of the window.

    All metadata is kept out of what an embedder, a reranker or a language
    model reads: file names change vectors and scores (llama_index#17373).
    """
    metadata: dict[str, Any] = {
        **result.metadata,
        "doc_id": result.doc_id,
        "source": result.source,
        "title": result.title,
        "section": result.section,
        "page": result.page,
        "sentence": result.text,
        "start": result.start,
        "end": result.end,
        RESULT_KEY: {
            "window_start": result.window_start,
            "window_end": result.window_end,
            "highlights": [list(span) for span in result.highlights],
            "highlight_pages": list(result.highlight_pages),
            "sources": list(result.sources),
            "ranks": [result.ranks.dense, result.ranks.sparse, result.ranks.fused, result.ranks.rerank],
            "scores": [result.scores.dense, result.scores.sparse, result.scores.fused, result.scores.rerank],
        },
    }
    node = TextNode(
        id_=result.id,
        text=result.window,
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=list(metadata),
        start_char_idx=result.window_start,
        end_char_idx=result.window_end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=result.doc_id)},
    )
    return NodeWithScore(node=node, score=result.score)


def from_node(found: NodeWithScore) -> SearchResult | None:
    """Return the result a node was made of, or None for a node of another origin."""
    metadata = found.node.metadata
    kept = metadata.get(RESULT_KEY)
    if not isinstance(kept, dict):
        return None
    return SearchResult(
        id=found.node.node_id,
        doc_id=metadata["doc_id"],
        source=metadata["source"],
        title=metadata["title"],
        section=metadata["section"],
        page=metadata["page"],
        text=metadata["sentence"],
        window=found.node.get_content(MetadataMode.NONE),
        start=metadata["start"],
        end=metadata["end"],
        score=found.score or 0.0,
        ranks=Ranks(*kept["ranks"]),
        scores=Scores(*kept["scores"]),
        window_start=kept["window_start"],
        window_end=kept["window_end"],
        highlights=tuple((start, end) for start, end in kept["highlights"]),
        highlight_pages=tuple(kept["highlight_pages"]),
        sources=tuple(kept["sources"]),
    )


class WinnowRetriever(BaseRetriever):
    """Hybrid search as a LlamaIndex retriever, synchronous and asynchronous.

    Make one with :meth:`open`, which runs the search on an event loop of its
    own; or hand it a searcher that lives on your loop and use ``aretrieve``.

    Example::

        with WinnowRetriever.open(load_settings(home=".winnow")) as retriever:
            for found in retriever.retrieve("What is a closure?"):
                ...
    """

    def __init__(
        self,
        searcher: Searcher,
        *,
        bridge: Bridge | None = None,
        tenant: str = DEFAULT_TENANT,
        mode: Mode | None = None,
        top_k: int | None = None,
        top_n: int | None = None,
        window_size: int | None = None,
        fusion: str | None = None,
        rerank: bool | None = None,
        filter: Mapping[str, object] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self._searcher = searcher
        self._bridge = bridge
        self._owned = False

        def request(query: str) -> SearchRequest:
            return SearchRequest(query, tenant, mode, top_k, top_n, filter, rerank, window_size, fusion)

        self._request: Callable[[str], SearchRequest] = request

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        tenant: str = DEFAULT_TENANT,
        mode: Mode | None = None,
        top_n: int | None = None,
        window_size: int | None = None,
        filter: Mapping[str, object] | None = None,
    ) -> WinnowRetriever:
        """Return a retriever over the settings' home; close it, or use it in a ``with``.

        Raises:
            CollectionError: nothing is indexed there.
        """
        bridge = Bridge()
        try:
            searcher = bridge(Searcher.open, settings)
        except BaseException:
            bridge.close()
            raise
        retriever = cls(
            searcher,
            bridge=bridge,
            tenant=tenant,
            mode=mode,
            top_n=top_n,
            window_size=window_size,
            filter=filter,
        )
        retriever._owned = True
        return retriever

    def close(self) -> None:
        """Close what :meth:`open` opened."""
        if self._owned and self._bridge is not None:
            self._owned = False
            self._bridge(self._searcher.close)
            self._bridge.close()

    def __enter__(self) -> WinnowRetriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def search(self, query: str) -> SearchResponse:
        """Return the whole response, receipt included."""
        if self._bridge is None:
            raise RuntimeError(
                "this retriever shares its caller's event loop: use aretrieve, or WinnowRetriever.open"
            )
        return self._bridge(self._searcher.search, self._request(query))

    async def asearch(self, query: str) -> SearchResponse:
        """The same without blocking; cancelling the task cancels the search."""
        request = self._request(query)
        if self._bridge is None:
            return await self._searcher.search(request)
        return await asyncio.wrap_future(self._bridge.start(self._searcher.search, request))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [to_node(result) for result in self.search(query_bundle.query_str).results]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [to_node(result) for result in (await self.asearch(query_bundle.query_str)).results]


class WinnowRerank(BaseNodePostprocessor):
    """A reranker of ours as a node postprocessor; it reads the node's text without metadata.

    Nodes are never changed: each comes back in a new ``NodeWithScore`` whose
    score is the logit.  Ties are ordered by node id.  Nodes that the model
    cannot read keep their places and scores (:mod:`retrieval.step_aside`).
    """

    top_n: int = Field(default=10, ge=1, description="nodes returned")
    min_coverage: float = Field(default=0.5, ge=0, le=1, description="share of letters the model must know")
    _reranker: Reranker = PrivateAttr()

    def __init__(self, reranker: Reranker, top_n: int = 10, min_coverage: float = 0.5) -> None:
        super().__init__(top_n=top_n, min_coverage=min_coverage)
        self._reranker = reranker

    @classmethod
    def class_name(cls) -> str:
        return "WinnowRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise QueryError("a reranker needs the query: pass query_str or query_bundle")
        texts = [found.node.get_content(MetadataMode.NONE) for found in nodes]
        scores = score_known(self._reranker, query_bundle.query_str, texts, self.min_coverage)
        known = scores.known or (True,) * len(texts)
        best = [i for i in order([found.node.node_id for found in nodes], scores.logits) if known[i]]
        scored = [
            NodeWithScore(node=found.node, score=float(logit) if readable else found.score)
            for found, logit, readable in zip(nodes, scores.logits, known, strict=True)
        ]
        return permuted(scored, best, known)[: self.top_n]


class ExtractiveQueryEngine(BaseQueryEngine):
    """Answers with sentences of the documents, word for word, cited; no language model.

    The response's ``metadata`` holds ``kind`` and ``citations`` (label,
    doc_id, source, page, start, end, quote); its text says "[1]" and so on.
    """

    def __init__(
        self,
        retriever: WinnowRetriever,
        *,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        max_sentences: int = MAX_SENTENCES,
    ) -> None:
        super().__init__(callback_manager=retriever.callback_manager)
        self._retriever = retriever
        self._postprocessors = tuple(node_postprocessors)
        self._max_sentences = max_sentences

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Response:
        nodes = self._retriever.retrieve(query_bundle)
        for postprocessor in self._postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=query_bundle)
        return self._respond(query_bundle.query_str, nodes)

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        nodes = await self._retriever.aretrieve(query_bundle)
        for postprocessor in self._postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query_bundle)
        return self._respond(query_bundle.query_str, nodes)

    def _respond(self, query: str, nodes: list[NodeWithScore]) -> Response:
        results = [result for result in map(from_node, nodes) if result is not None]
        answer = extract_answer(query, results, max_sentences=self._max_sentences)
        facts = {"kind": answer.kind, "citations": [asdict(citation) for citation in answer.citations]}
        return Response(answer.text, source_nodes=nodes, metadata=facts)


def query_engine(
    retriever: WinnowRetriever,
    llm: LLM | None = None,
    *,
    node_postprocessors: Sequence[BaseNodePostprocessor] = (),
) -> BaseQueryEngine:
    """Return LlamaIndex's own query engine over the retriever, or an extractive one without ``llm``."""
    if llm is None:
        return ExtractiveQueryEngine(retriever, node_postprocessors=node_postprocessors)
    return RetrieverQueryEngine.from_args(retriever, llm=llm, node_postprocessors=list(node_postprocessors))
