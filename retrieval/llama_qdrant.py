"""The same collection through LlamaIndex's stock ``QdrantVectorStore``.

That class talks to a ``qdrant_client``, so it opens the server and memory
homes; the embedded engine has no such client (use
:class:`retrieval.llama_store.WinnowVectorStore`, which opens all three).
A point's payload has ``text`` and no ``_node_content``: the stock store then
makes its nodes from the payload itself.
"""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQueryResult
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from indexing.collection.protocol import DENSE, SPARSE
from indexing.encoders.protocols import EncoderPair
from indexing.records import DEFAULT_TENANT, Hit, SparseVector
from retrieval.fusion import RRF_K, rrf

_Batch = tuple[list[list[int]], list[list[float]]]


def qdrant_vector_store(
    encoders: EncoderPair,
    *,
    name: str = "winnow",
    client: QdrantClient | None = None,
    aclient: AsyncQdrantClient | None = None,
    rrf_k: int = RRF_K,
) -> QdrantVectorStore:
    """Return the stock store over a Winnow collection: our vector names, sparse encoder and fusion.

    Read through it; write through ``python -m indexing``.  It knows nothing of
    tenants: pass ``filters=tenant_filters("default")`` with every query.  IDF
    is then that of the whole collection, so with several tenants its sparse
    scores differ a little from ours.

    Args:
        encoders: the pair the collection was built with.
        name: the setting ``collection.name``.
        client: for synchronous calls; ``aclient`` for asynchronous ones.  At
            least one is needed.
        rrf_k: the setting ``retrieval.rrf_k``.
    """
    return QdrantVectorStore(
        collection_name=name,
        client=client,
        aclient=aclient,
        enable_hybrid=True,
        dense_vector_name=DENSE,
        sparse_vector_name=SPARSE,
        sparse_doc_fn=lambda texts: _columns(encoders.sparse_documents(texts)),
        sparse_query_fn=lambda texts: _columns([one.sparse for one in encoders.embed_queries(texts)]),
        hybrid_fusion_fn=reciprocal_rank_fusion(rrf_k),
    )


def tenant_filters(tenant: str = DEFAULT_TENANT) -> MetadataFilters:
    """Return the filter that keeps one tenant's points."""
    return MetadataFilters(filters=[MetadataFilter(key="tenant", value=tenant)])


def reciprocal_rank_fusion(k: int) -> Callable[..., VectorStoreQueryResult]:
    """Return our fusion in the shape that the stock store calls; ``alpha`` is the dense share.

    Its own leaves single and equal scores raw and does not cut to ``top_k``
    when a side is empty (``utils.py:124``).
    """

    def fuse(
        dense_result: VectorStoreQueryResult,
        sparse_result: VectorStoreQueryResult,
        alpha: float = 0.5,
        top_k: int = 10,
    ) -> VectorStoreQueryResult:
        nodes: dict[str, BaseNode] = {}
        sides = [_hits(dense_result, nodes), _hits(sparse_result, nodes)]
        fused = rrf(sides, (alpha, 1 - alpha), k)[:top_k]
        return VectorStoreQueryResult(
            nodes=[nodes[one.id] for one in fused],
            similarities=[one.score for one in fused],
            ids=[one.id for one in fused],
        )

    return fuse


def _hits(result: VectorStoreQueryResult, nodes: dict[str, BaseNode]) -> list[Hit]:
    """One side's hits, ties by id as everywhere in Winnow; the stock store leaves them as they come."""
    ids = result.ids or []
    nodes.update(zip(ids, result.nodes or (), strict=True))
    ranked = sorted(zip(ids, result.similarities or (), strict=True), key=lambda hit: (-hit[1], hit[0]))
    return [Hit(identity, score, rank, {}) for rank, (identity, score) in enumerate(ranked, start=1)]


def _columns(vectors: list[SparseVector]) -> _Batch:
    return [list(one.indices) for one in vectors], [list(one.values) for one in vectors]
