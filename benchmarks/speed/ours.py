"""Winnow's embedded default through its own ingest and search, and the bare engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import qdrant_edge as qe

from benchmarks.speed.sides import POOL, RESULTS, Corpus, Timed, timed_calls
from indexing.catalog import open_catalog
from indexing.collection import Collection, CollectionSpec, open_collection
from indexing.collection.edge_config import engine_config
from indexing.collection.layout import EngineParameters, layout_of
from indexing.encoders.bm25 import Bm25Encoder
from indexing.encoders.pair import ComposedPair
from indexing.encoders.protocols import Fingerprint
from indexing.ingest import add_paths
from indexing.records import DEFAULT_TENANT, Embedding, FloatArray
from indexing.session import Index
from indexing.settings import Settings, load_settings
from retrieval.fusion import fuse
from retrieval.records import SearchRequest, SearchResponse
from retrieval.search import Searcher

_AVERAGE_LENGTH = 12.0


class GivenVectors:
    """A dense encoder that looks its vectors up: indexing is timed without the model."""

    def __init__(self, texts: Sequence[str], vectors: FloatArray) -> None:
        self._rows = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("given", "speed-benchmark", {})

    @property
    def dimensions(self) -> int:
        return int(self._vectors.shape[1])

    @property
    def max_tokens(self) -> int:
        return 0

    @property
    def scripts(self) -> frozenset[str] | None:
        """The shipped encoder's: a search looks at them."""
        return frozenset({"Latin"})

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return np.asarray(self._vectors[[self._rows[text] for text in texts]], dtype=np.float32)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self.encode_documents(texts)


def given_pair(texts: Sequence[str], vectors: FloatArray) -> ComposedPair:
    """Vectors that are looked up beside the real BM25."""
    return ComposedPair(GivenVectors(texts, vectors), Bm25Encoder(), min_coverage=0.0)


def _settings(folder: Path) -> Settings:
    """The defaults, or the environment's; the engine leaves at once: its folder is about to go."""
    return load_settings(home=folder / "home", collection={"idle_exit_s": 0.2})


class Winnow:
    """JSON lines in, ``Searcher.search`` out: catalogue, engine process, fusion, windows, receipt."""

    name = "winnow"

    def build(self, folder: Path, corpus: Corpus) -> None:
        lines = folder / "corpus.jsonl"
        with lines.open("w", encoding="utf-8") as out:
            for number, text in enumerate(corpus.texts):
                out.write(json.dumps({"_id": f"d{number:07d}", "text": text}) + "\n")
        settings = _settings(folder)
        catalog = open_catalog(settings)
        with Index(settings, catalog, encoders=given_pair(corpus.sentences, corpus.vectors)) as index:
            report = add_paths(index, [lines])
            if report.failures or report.sentences != len(corpus.sentences):
                raise RuntimeError(
                    f"indexed {report.sentences} of {len(corpus.sentences)}: {report.failures}"
                )
            index.bridge(index.collection.optimize, wait=True)
        lines.unlink()

    def open(self, folder: Path, corpus: Corpus) -> None:
        self._corpus = corpus
        self._settings = _settings(folder)
        self._loop = asyncio.new_event_loop()
        self._numbers = {
            (f"d{document:07d}", ordinal): number
            for number, (document, ordinal) in enumerate(zip(corpus.documents, corpus.ordinals, strict=True))
        }
        self._catalog = open_catalog(self._settings)
        self._collection: Collection = self._loop.run_until_complete(open_collection(self._settings, None))
        self._pair = given_pair(corpus.queries, corpus.query_vectors)
        self._searcher = Searcher(
            self._collection,
            self._catalog,
            self._embed,
            coverage=self._pair.coverage,
            retrieval=self._settings.retrieval,
            reranking=self._settings.rerank,
        )

    async def _embed(self, query: str) -> Embedding:
        return self._pair.embed_queries([query])[0]

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        if exact:
            return self._loop.run_until_complete(self._pool(number, exact=True))
        return self._ids(self._loop.run_until_complete(self._searcher.search(self._request(number))))

    async def _pool(self, number: int, *, exact: bool) -> list[int]:
        """The fused list without windows: what ``exact`` is compared by."""
        embedding = await self._embed(self._corpus.queries[number])
        sides = await self._collection.search(embedding, tenant=DEFAULT_TENANT, top_k=POOL, exact=exact)
        fused = fuse("rrf", [sides.dense, sides.sparse], [1.0, 1.0], rrf_k=self._settings.retrieval.rrf_k)
        keys = ((str(hit.payload["doc_id"]), int(str(hit.payload["ordinal"]))) for hit in fused[:RESULTS])
        return [self._numbers[key] for key in keys]

    def _starts(self) -> dict[tuple[str, int], int]:
        """(document, start offset) -> sentence, made once."""
        if not hasattr(self, "_by_start"):
            self._by_start = {}
            where: dict[int, int] = {}
            for number, (document, sentence) in enumerate(
                zip(self._corpus.documents, self._corpus.sentences, strict=True)
            ):
                start = self._corpus.texts[document].index(sentence, where.get(document, 0))
                where[document] = start + len(sentence)
                self._by_start[f"d{document:07d}", start] = number
        return self._by_start

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        """All in one run of the loop, as a service has it."""
        return self._loop.run_until_complete(self._timed(numbers, deadline))

    async def _timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        answers: list[Timed] = []
        for number in numbers:
            before = perf_counter()
            response = await self._searcher.search(self._request(number))
            ms = 1000 * (perf_counter() - before)
            answers.append(Timed(self._ids(response), ms))
            if perf_counter() > deadline:
                break
        return answers

    def _request(self, number: int) -> SearchRequest:
        return SearchRequest(query=self._corpus.queries[number], top_k=POOL, top_n=RESULTS, fusion="rrf")

    def _ids(self, response: SearchResponse) -> list[int]:
        return [self._starts()[result.doc_id, result.start] for result in response.results]

    def payload_bytes(self) -> int | None:
        async def measure() -> int:
            total = seen = 0
            async for batch in self._collection.scroll(tenant=DEFAULT_TENANT):
                total += sum(len(json.dumps(dict(p.payload), ensure_ascii=False).encode()) for p in batch)
                seen += len(batch)
                if seen >= 10_000:
                    break
            return total * len(self._corpus.sentences) // seen

        return self._loop.run_until_complete(measure())

    def processes(self) -> list[int]:
        """The engine's process, found by what it has open."""
        import psutil

        folder = str(layout_of(self._settings).folder)
        return [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if {folder, "indexing.collection.engine"} <= set(process.info["cmdline"] or [])
        ]

    def close(self) -> None:
        self._loop.run_until_complete(self._collection.close())
        self._catalog.close()
        self._loop.close()


class RawEngine:
    """The engine in this very process: one prefetch + RRF request, nothing else."""

    name = "raw-engine"

    def _config(self, dimensions: int) -> qe.EdgeConfig:
        """Winnow's own, so that graph and quantization are the same."""
        spec = CollectionSpec(dimensions, "", "", sparse_idf=True)
        return engine_config(spec, EngineParameters.of(load_settings().collection))

    def build(self, folder: Path, corpus: Corpus) -> None:
        shard = qe.EdgeShard.create(str(folder / "shard"), self._config(corpus.vectors.shape[1]))
        sparse = Bm25Encoder(average_length=_AVERAGE_LENGTH)
        for first in range(0, len(corpus.sentences), 1000):
            texts = corpus.sentences[first : first + 1000]
            points = [
                qe.Point(
                    first + offset,
                    {
                        "dense": corpus.vectors[first + offset].tolist(),
                        "sparse": qe.SparseVector(list(vector.indices), list(vector.values)),
                    },
                    {"text": text},
                )
                for offset, (text, vector) in enumerate(
                    zip(texts, sparse.encode_documents(texts), strict=True)
                )
            ]
            shard.update(qe.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path, corpus: Corpus) -> None:
        self._corpus = corpus
        self._shard = qe.EdgeShard.load(str(folder / "shard"))
        self._sparse = Bm25Encoder(average_length=_AVERAGE_LENGTH)
        self._hnsw_ef = load_settings().collection.hnsw_ef

    def search(self, number: int, *, exact: bool = False) -> list[int]:
        vector = self._sparse.encode_queries([self._corpus.queries[number]])[0]
        quantization = qe.QuantizationSearchParams(ignore=exact, rescore=True, oversampling=2.0)
        params = qe.SearchParams(exact=exact, hnsw_ef=self._hnsw_ef, quantization=quantization)
        dense = qe.Prefetch(
            limit=POOL,
            query=qe.Query.Nearest(self._corpus.query_vectors[number].tolist(), using="dense"),
            params=params,
        )
        sparse = qe.Prefetch(
            limit=POOL,
            query=qe.Query.Nearest(
                qe.SparseVector(list(vector.indices), list(vector.values)), using="sparse"
            ),
        )
        request = qe.QueryRequest(
            limit=RESULTS,
            prefetches=[dense, sparse],
            query=qe.Fusion.Rrf(k=60),  # type: ignore[arg-type]  # the stubs nest the class differently
            with_payload=True,
        )
        return [int(point.id) for point in self._shard.query(request)]

    def timed(self, numbers: Sequence[int], deadline: float) -> list[Timed]:
        return timed_calls(self.search, numbers, deadline)

    def payload_bytes(self) -> int | None:
        return None

    def processes(self) -> list[int]:
        return []

    def close(self) -> None:
        self._shard.close()
