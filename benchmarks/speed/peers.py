"""The peers, each set up as its own documentation recommends for hybrid search.

Every one is given the same dense vectors and fuses a pool of fifty from each
side.  LlamaIndex is also given Winnow's sparse vectors (its default sparse
encoder is a download); LanceDB and txtai use their own full-text index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import POOL, RESULTS, Corpus, Timed, timed_calls


class StockLlamaIndex:
    """``QdrantVectorStore(enable_hybrid=True)`` on qdrant-client's local mode."""

    name = "llama-index"

    def __init__(self) -> None:
        import llama_index.vector_stores.qdrant  # noqa: F401  imports are not index time

    def _store(self, folder: Path, corpus: Corpus) -> Any:
        from llama_index.vector_stores.qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient

        from indexing.encoders.bm25 import Bm25Encoder

        encoder = Bm25Encoder(average_length=12.0)

        def documents(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
            vectors = encoder.encode_documents(texts)
            return [list(v.indices) for v in vectors], [list(v.values) for v in vectors]

        def queries(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
            vectors = encoder.encode_queries(texts)
            return [list(v.indices) for v in vectors], [list(v.values) for v in vectors]

        self._client = QdrantClient(path=str(folder))
        return QdrantVectorStore(
            collection_name="bench",
            client=self._client,
            enable_hybrid=True,
            sparse_doc_fn=documents,
            sparse_query_fn=queries,
        )

    def build(self, folder: Path, corpus: Corpus) -> None:
        """Nodes as ``SentenceWindowNodeParser`` makes them: window in the metadata."""
        from llama_index.core.schema import TextNode

        store = self._store(folder, corpus)
        batch = 2000
        for first in range(0, len(corpus.sentences), batch):
            nodes = []
            for number in range(first, min(first + batch, len(corpus.sentences))):
                low, high = max(0, number - 3), number + 4
                nodes.append(
                    TextNode(
                        text=corpus.sentences[number],
                        metadata={
                            "number": number,
                            "window": " ".join(corpus.sentences[low:high]),
                            "original_text": corpus.sentences[number],
                        },
                        embedding=corpus.vectors[number].tolist(),
                    )
                )
            store.add(nodes)
        self._client.close()

    def open(self, folder: Path, corpus: Corpus) -> None:
        self._corpus = corpus
        self._folder = folder
        self._opened = self._store(folder, corpus)

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

        query = VectorStoreQuery(
            query_str=self._corpus.queries[number],
            query_embedding=self._corpus.query_vectors[number].tolist(),
            mode=VectorStoreQueryMode.HYBRID,
            similarity_top_k=POOL,
            sparse_top_k=POOL,
            hybrid_top_k=RESULTS,
        )
        return [node.metadata["number"] for node in self._opened.query(query).nodes]

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        return timed_calls(self.search, numbers, deadline)

    def payload_bytes(self) -> int | None:
        points, _ = self._client.scroll("bench", limit=1000, with_payload=True)
        sample = sum(len(json.dumps(point.payload, ensure_ascii=False).encode()) for point in points)
        return sample * len(self._corpus.sentences) // len(points)

    def processes(self) -> list[int]:
        return []

    def close(self) -> None:
        self._client.close()


class LanceDb:
    """IVF_HNSW_SQ on cosine, its native full-text index, RRF with k 60."""

    name = "lancedb"

    def __init__(self) -> None:
        import lancedb.rerankers  # noqa: F401  imports are not index time

    def build(self, folder: Path, corpus: Corpus) -> None:
        import lancedb
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(
            pa.array(np.asarray(corpus.vectors, dtype=np.float32).ravel()), corpus.vectors.shape[1]
        )
        rows = pa.table(
            {
                "number": pa.array(range(len(corpus.sentences)), pa.int64()),
                "text": pa.array(corpus.sentences),
                "document": pa.array(corpus.documents, pa.int64()),
                "vector": vectors,
            }
        )
        table = lancedb.connect(str(folder)).create_table("bench", rows)
        table.create_fts_index("text")
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ")
        table.optimize()

    def open(self, folder: Path, corpus: Corpus) -> None:
        import lancedb
        from lancedb.rerankers import RRFReranker

        self._corpus = corpus
        self._table = lancedb.connect(str(folder)).open_table("bench")
        self._reranker = RRFReranker(K=60)

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        query: Any = (
            self._table.search(query_type="hybrid")
            .vector(self._corpus.query_vectors[number])
            .text(self._corpus.queries[number])
            .limit(POOL)
            .select(["number", "text"])
        )
        if exact:
            query = query.bypass_vector_index()
        found = query.rerank(self._reranker).to_arrow()
        return [int(value) for value in found["number"].to_pylist()[:RESULTS]]

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        return timed_calls(self.search, numbers, deadline)

    def payload_bytes(self) -> int | None:
        return None

    def processes(self) -> list[int]:
        return []

    def close(self) -> None:
        del self._table


class TxtAi:
    """Its hybrid default: Faiss and its own BM25, scores averaged; content stored."""

    name = "txtai"

    def __init__(self) -> None:
        import txtai  # noqa: F401  imports are not index time

    def _embeddings(self, corpus: Corpus) -> Any:
        from txtai import Embeddings

        by_text = dict(zip(corpus.queries, corpus.query_vectors, strict=True))

        def transform(texts: list[str]) -> Any:
            return np.stack([by_text[text] for text in texts])

        return Embeddings({"method": "external", "transform": transform, "hybrid": True, "content": True})

    def build(self, folder: Path, corpus: Corpus) -> None:
        from txtai import Embeddings

        vectors = iter(corpus.vectors)

        def transform(texts: list[str]) -> Any:
            return np.stack([next(vectors) for _ in texts])

        embeddings = Embeddings(
            {"method": "external", "transform": transform, "hybrid": True, "content": True}
        )
        embeddings.index((number, text, None) for number, text in enumerate(corpus.sentences))
        embeddings.config["transform"] = None  # a function is not part of a stored index
        embeddings.save(str(folder))

    def open(self, folder: Path, corpus: Corpus) -> None:
        self._corpus = corpus
        self._opened = self._embeddings(corpus)
        transform = self._opened.config["transform"]
        self._opened.load(str(folder), config={"transform": transform})
        self._opened.config["transform"] = transform
        self._opened.model = self._opened.loadvectors()

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        if exact:
            raise NotImplementedError("txtai has no exact search beside a built index")
        found = self._opened.search(self._corpus.queries[number], RESULTS)
        return [int(item["id"]) for item in found]

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        return timed_calls(self.search, numbers, deadline)

    def payload_bytes(self) -> int | None:
        return None

    def processes(self) -> list[int]:
        return []

    def close(self) -> None:
        self._opened.close()
