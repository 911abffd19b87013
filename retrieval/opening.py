"""A searcher over a home folder: catalogue, engine, encoders and reranker, opened once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from indexing.collection.protocol import Collection, check_spec
from indexing.encoders.protocols import EncoderPair
from indexing.records import Embedding
from indexing.settings import Settings
from retrieval.late_interaction import QueryTokens
from retrieval.rerank import load_reranker
from retrieval.reranker import Reranker, RerankScores
from retrieval.search import Searcher
from retrieval.step_aside import score_known
from retrieval.stored_tokens import StoredTokens, query_tokens

if TYPE_CHECKING:
    from indexing.migration.lease import Lease


class ModelThread:
    """Encoders and reranker behind one thread: no model call runs beside another."""

    def __init__(self, encoders: EncoderPair, reranker: Reranker | None, min_coverage: float = 0.5) -> None:
        self.encoders = encoders
        self.reranker = reranker
        self._min_coverage = min_coverage
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="winnow-model")

    async def embed_query(self, query: str) -> Embedding:
        """Return the vectors of one query."""
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self._pool, self.encoders.embed_queries, [query]))[0]

    async def embed_document(self, text: str) -> Embedding:
        """Return the vectors of one text on the document side."""
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self._pool, self.encoders.embed_documents, [text]))[0]

    async def rerank(self, query: str, texts: Sequence[str]) -> RerankScores:
        """Return the logits of the texts the reranker can read; only call it when there is one."""
        if self.reranker is None:
            raise RuntimeError("no reranker is loaded")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, score_known, self.reranker, query, list(texts), self._min_coverage
        )

    def stored_tokens(self, collection: Collection, min_coverage: float) -> StoredTokens | None:
        """Return the stage that compares what ``collection`` stores; None when it stores no tokens.

        ``min_coverage`` is ``encoders.min_coverage``.
        """
        spec = collection.spec
        if not spec.token_dimensions:
            return None

        async def encode(query: str) -> QueryTokens | None:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, query_tokens, self.reranker, query, spec.token_fingerprint, min_coverage
            )

        return StoredTokens(collection, encode, self._min_coverage)

    def close(self) -> None:
        """Let the call in progress end; queued ones are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def open_searcher(settings: Settings) -> Searcher:
    """Return a searcher over the settings' home; see :meth:`Searcher.open`."""
    from indexing.catalog import open_catalog
    from indexing.collection import open_collection
    from indexing.encoders import load_encoders
    from indexing.migration.lease import reading
    from indexing.migration.sides import served_settings
    from indexing.session import spec_of

    catalog = await asyncio.to_thread(open_catalog, settings)
    lease: Lease | None = None
    try:
        pair, lease = await asyncio.to_thread(reading, settings.home, catalog)
        settings = served_settings(settings, pair)
        collection = await open_collection(settings, None)
        try:
            average = await asyncio.to_thread(catalog.generations.average, pair.number)
            encoders = await asyncio.to_thread(load_encoders, settings.encoders, average_length=average)
            check_spec(collection.spec, spec_of(encoders))
            reranker = await asyncio.to_thread(load_reranker, settings.rerank, settings.home)
        except BaseException:
            await collection.close()
            raise
    except BaseException:
        if lease is not None:
            lease.close()
        catalog.close()
        raise
    models = ModelThread(encoders, reranker, settings.rerank.min_coverage)

    async def close() -> None:
        models.close()
        await collection.close()
        if lease is not None:
            lease.close()
        catalog.close()

    return Searcher(
        collection,
        catalog,
        models.embed_query,
        retrieval=settings.retrieval,
        reranking=settings.rerank,
        coverage=encoders.coverage,
        min_coverage=settings.encoders.min_coverage,
        rerank=None if reranker is None else models.rerank,
        stored_tokens=models.stored_tokens(collection, settings.encoders.min_coverage),
        embed_document=models.embed_document,
        generation=pair.number,
        close=close,
    )
