"""The collection as a LlamaIndex vector store, over any home, the embedded engine included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, cast

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr

from indexing.bridge import Bridge
from indexing.catalog import Catalog
from indexing.collection.filters import Condition, Filter, parse_filter
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.errors import FilterError, QueryError
from indexing.records import DEFAULT_TENANT, Embedding, Extraction, Hit, Mode, Scalar, SparseVector
from indexing.session import Index
from indexing.settings import Settings
from retrieval.fusion import rrf, side_weights

_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.SPARSE: "sparse",
    VectorStoreQueryMode.HYBRID: "hybrid",
}
_BOUNDS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}
_NO_TERMS = SparseVector((), ())
# Of a node that was added through ``add``: the document LlamaIndex says it came from.
_REF_KEY = "ref_doc_id"


class WinnowEmbedding(BaseEmbedding):
    """The index's dense encoder as a LlamaIndex embedding.

    A text in a script that the encoder does not know has no dense vector; it
    is given as zeros, which the store takes for "no dense side".
    """

    _encoders: EncoderPair = PrivateAttr()

    def __init__(self, encoders: EncoderPair) -> None:
        super().__init__(model_name=encoders.dense_fingerprint.name)
        self._encoders = encoders

    @classmethod
    def class_name(cls) -> str:
        return "WinnowEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._floats(self._encoders.embed_queries([query])[0])

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._floats(self._encoders.embed_documents([text])[0])

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [self._floats(one) for one in self._encoders.embed_documents(texts)]

    def _floats(self, embedding: Embedding) -> list[float]:
        if embedding.dense is None:
            return [0.0] * self._encoders.dimensions
        return [float(value) for value in embedding.dense]


class WinnowVectorStore(BasePydanticVectorStore):
    """One tenant of a collection, whatever its home, as a vector store.

    Query modes DEFAULT (dense), SPARSE and HYBRID (reciprocal rank fusion;
    ``alpha`` is the dense side's share, as in LlamaIndex).  Nodes are
    sentences: use :class:`retrieval.llama.WinnowRetriever` for windows.
    """

    stores_text: bool = True
    is_embedding_query: bool = True

    _index: Index = PrivateAttr()
    _tenant: str = PrivateAttr()
    _collection: Any = PrivateAttr()
    _rrf_k: int = PrivateAttr()

    def __init__(self, index: Index, tenant: str = DEFAULT_TENANT) -> None:
        super().__init__(stores_text=True)
        self._index = index
        self._tenant = tenant
        # Opened now: the index opens lazily through its bridge, which a
        # coroutine that already runs on the bridge's loop could not wait for.
        self._collection = index.collection
        self._rrf_k = index.settings.retrieval.rrf_k

    @classmethod
    def open(cls, settings: Settings, tenant: str = DEFAULT_TENANT) -> WinnowVectorStore:
        """Return a store over the settings' home; ``close`` it, or use it in a ``with``."""
        return cls(Index.open(settings), tenant)

    @classmethod
    def class_name(cls) -> str:
        return "WinnowVectorStore"

    @property
    def client(self) -> Collection:
        """The collection underneath."""
        return cast(Collection, self._collection)

    @property
    def embed_model(self) -> WinnowEmbedding:
        """What ``VectorStoreIndex.from_vector_store(store, embed_model=...)`` wants."""
        return WinnowEmbedding(self._index.encoders)

    def close(self) -> None:
        """Close the index underneath."""
        self._index.close()

    def __enter__(self) -> WinnowVectorStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the hits of one query; ``kwargs`` of the interface are refused.

        Raises:
            QueryError: a mode that is not one of the three, or a missing text.
            FilterError: a filter that the collection cannot express.
        """
        _refuse(kwargs)
        return self._bridge(self._search, query)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The same without blocking the caller's event loop."""
        _refuse(kwargs)
        return await asyncio.wrap_future(self._bridge.start(self._search, query))

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Index each node's text as a document of its own and return the nodes' ids.

        It goes through the ordinary pipeline: split into sentences, encoded by
        the index's encoders (vectors on the nodes are not used), catalogued.
        """
        from indexing.ingest import TextItem, add_texts

        _refuse(add_kwargs)
        items = []
        for node in nodes:
            metadata = {key: value for key, value in node.metadata.items() if isinstance(value, Scalar)}
            if node.ref_doc_id is not None:
                metadata[_REF_KEY] = node.ref_doc_id
            extraction = Extraction(
                node.get_content(MetadataMode.NONE), doc_id=node.node_id, metadata=metadata
            )
            items.append(TextItem(f"llama-index:{node.node_id}", extraction, "text/plain"))
        report = add_texts(self._index, items, tenant=self._tenant)
        if report.failures:
            raise QueryError(f"{len(report.failures)} nodes were refused: {report.failures[0][1]}")
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the document of this id and the nodes that name it as their source."""
        from indexing.ingest import delete_document

        _refuse(delete_kwargs)
        for doc_id in self._documents_of(ref_doc_id):
            delete_document(self._index, self._tenant, doc_id)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """The same in a worker thread."""
        _refuse(delete_kwargs)
        await asyncio.to_thread(self.delete, ref_doc_id)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """The same as ``add`` in a worker thread."""
        _refuse(kwargs)
        return await asyncio.to_thread(self.add, nodes)

    @property
    def _bridge(self) -> Bridge:
        return self._index.bridge

    def _documents_of(self, ref_doc_id: str) -> list[str]:
        found: dict[str, None] = {}
        for raw in ({"doc_id": ref_doc_id}, {_REF_KEY: ref_doc_id}):
            pages = self._bridge.iterate(self.client.scroll, tenant=self._tenant, filter=parse_filter(raw))
            for page in pages:
                for point in page:
                    found.setdefault(str(point.payload["doc_id"]))
        return list(found)

    async def _search(self, query: VectorStoreQuery) -> VectorStoreQueryResult:
        mode = _MODES.get(query.mode)
        if mode is None:
            accepted = ", ".join(known.value for known in _MODES)
            raise QueryError(f"query mode {query.mode.value!r} is not offered; accepted: {accepted}")
        embedding = await self._embedding(query, mode)
        top_k = query.similarity_top_k
        hits = await self.client.search(
            embedding,
            tenant=self._tenant,
            top_k=max(top_k, query.sparse_top_k or 0),
            mode=mode,
            filter=to_filter(query),
        )
        dense, sparse = hits.dense[:top_k], hits.sparse[: query.sparse_top_k or top_k]
        if mode == "hybrid":
            weights = self._weights(query, embedding)
            fused = rrf((dense, sparse), weights, self._rrf_k)[: query.hybrid_top_k or top_k]
            ranked = [Hit(one.id, one.score, rank, one.payload) for rank, one in enumerate(fused, start=1)]
        else:
            ranked = list(dense if mode == "dense" else sparse)
        live = await asyncio.to_thread(_live, self._index.catalog, self._tenant, ranked)
        return VectorStoreQueryResult(
            nodes=[to_sentence_node(hit) for hit in live],
            similarities=[hit.score for hit in live],
            ids=[hit.id for hit in live],
        )

    async def _embedding(self, query: VectorStoreQuery, mode: Mode) -> Embedding:
        dense = None
        if mode != "sparse" and query.query_embedding is not None:
            vector = np.asarray(query.query_embedding, dtype=np.float32)
            dense = vector if vector.any() else None
        if mode == "dense":
            return Embedding(dense, _NO_TERMS)
        if query.query_str is None:
            raise QueryError(f"a {mode} query needs its text: set query_str")
        own = (await asyncio.to_thread(self._index.encoders.embed_queries, [query.query_str]))[0]
        return Embedding(dense if query.query_embedding is not None else own.dense, own.sparse)

    def _weights(self, query: VectorStoreQuery, embedding: Embedding) -> tuple[float, float]:
        known = 0.0 if embedding.dense is None else self._index.encoders.coverage(query.query_str or "")
        return side_weights(known, 0.5 if query.alpha is None else query.alpha)


def _live(catalog: Catalog, tenant: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits whose version of the document is the one in force."""
    windows = catalog.windows(tenant, [hit.id for hit in hits], 0)
    return [hit for hit, window in zip(hits, windows, strict=True) if window is not None]


def to_sentence_node(hit: Hit) -> TextNode:
    """Return a hit as a node: the sentence, its place, and its document as the source."""
    payload = cast("dict[str, Any]", dict(hit.payload))
    text = payload.pop("text")
    payload.pop("tenant", None)
    metadata = {**payload.pop("metadata", {}), **payload}
    return TextNode(
        id_=hit.id,
        text=text,
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=list(metadata),
        start_char_idx=payload["start"],
        end_char_idx=payload["end"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=payload["doc_id"])},
    )


def to_filter(query: VectorStoreQuery) -> Filter | None:
    """Return LlamaIndex's filters as ours.

    Raises:
        FilterError: OR, NOT or nesting of groups, an operator that the
            collection does not have, or ids of single nodes.
    """
    if query.node_ids:
        raise FilterError("filtering by node ids is not offered; filter by doc_ids or metadata")
    raw: dict[str, object] = {"doc_id": list(query.doc_ids)} if query.doc_ids else {}
    conditions: list[Condition] = []
    parsed = parse_filter(raw)
    if parsed is not None:
        conditions.extend(parsed.conditions)
    for one in _flat(query.filters):
        found = parse_filter({one.key: _value(one)})
        if found is not None:
            conditions.extend(found.conditions)
    return Filter(tuple(conditions)) if conditions else None


def _flat(filters: MetadataFilters | None) -> list[MetadataFilter]:
    if filters is None:
        return []
    if filters.condition not in (None, FilterCondition.AND) and len(filters.filters) > 1:
        raise FilterError(f"filters joined by {filters.condition!r} are not offered; accepted: and")
    if filters.condition == FilterCondition.NOT:
        raise FilterError("a negated group of filters is not offered; use the operator != or nin")
    found: list[MetadataFilter] = []
    for one in filters.filters:
        found.extend(_flat(one) if isinstance(one, MetadataFilters) else [one])
    return found


def _value(one: MetadataFilter) -> object:
    if one.operator in (FilterOperator.EQ, FilterOperator.IN):
        return one.value
    if one.operator in (FilterOperator.NE, FilterOperator.NIN):
        return {"not": one.value}
    if one.operator in _BOUNDS:
        return {_BOUNDS[one.operator]: one.value}
    raise FilterError(f"the filter operator {one.operator.value!r} is not offered")


def _refuse(arguments: dict[str, Any]) -> None:
    if arguments:
        raise QueryError(f"arguments {', '.join(sorted(arguments))} are not known to this vector store")
