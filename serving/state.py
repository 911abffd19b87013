"""What the running service holds, opened once and closed in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from indexing.catalog import Catalog
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.errors import CollectionError, CollectionUnavailableError, DamagedShardError, SettingsError
from indexing.records import Embedding
from indexing.settings import Settings
from retrieval.records import SearchRequest, SearchResponse
from retrieval.rerank import Reranker, RerankScores
from serving.batching import BatchWorker
from serving.deletion import Deleter
from serving.jobs import JobRunner, ingest_command
from serving.looplag import LoopLag
from serving.metrics import Metrics
from serving.readiness import Readiness
from serving.schemas import EncodersReply
from serving.threads import in_thread
from serving.uploads import remove_abandoned

logger = logging.getLogger(__name__)

# A reranked query takes about a hundred times as long as an encoded one, so a
# shorter line already means the same wait.
_RERANK_LINE_SHARE = 8


class SearchFunction(Protocol):
    """The one call of ``retrieval.search.Searcher`` that requests make."""

    async def search(self, request: SearchRequest) -> SearchResponse: ...


class Closable(Protocol):
    async def close(self) -> None: ...


@dataclass(slots=True)
class Service:
    """Everything a request can reach; ``parts`` are closed last to first."""

    settings: Settings
    catalog: Catalog
    collection: Collection
    searcher: SearchFunction
    encoders: EncodersReply
    jobs: JobRunner
    deleter: Deleter
    readiness: Readiness
    metrics: Metrics
    parts: list[Closable] = field(default_factory=list)

    async def close(self) -> None:
        """Stop the ingest process, finish the model's work, let go of the stores."""
        for part in reversed(self.parts):
            try:
                await part.close()
            except Exception:
                # The others still have to be closed.
                logger.exception("close_failed part=%s", type(part).__name__)
        await in_thread(self.catalog.close)


async def open_service(settings: Settings, metrics: Metrics | None = None) -> Service:
    """Load the models, open the stores, and begin to look after jobs.

    A home folder without a collection gets an empty one.

    Raises:
        SettingsError: ``collection.home`` is "memory".
        FingerprintMismatchError: other encoders built the collection.
        WinnowError: a store or a model does not open.
    """
    if settings.collection.home == "memory":
        raise SettingsError(
            "collection.home is 'memory', which only its own process can see, and indexing runs in "
            "another; use 'embedded' or 'server'"
        )
    metrics = metrics or Metrics()
    parts: list[Closable] = []
    catalog = await in_thread(_open_catalog, settings)
    try:
        return await _open_parts(settings, metrics, catalog, parts)
    except BaseException:
        for part in reversed(parts):
            await part.close()
        await in_thread(catalog.close)
        raise


async def _open_parts(
    settings: Settings, metrics: Metrics, catalog: Catalog, parts: list[Closable]
) -> Service:
    collection, encoders, reranker = await _open_all(settings, catalog)
    parts.append(collection)
    embed = _encode_worker(settings, encoders, metrics)
    parts.append(_Worker(embed, settings.serving.shutdown_grace_s))
    rerank = None
    if reranker is not None:
        worker = _rerank_worker(settings, reranker, metrics)
        parts.append(_Worker(worker, settings.serving.shutdown_grace_s))
        rerank = _rerank_call(worker)
    jobs = JobRunner(ingest_command(settings.home), lambda: in_thread(catalog.unfinished_jobs), metrics)
    lag = LoopLag(metrics)
    lag.start()
    parts.extend((lag, jobs))
    await in_thread(remove_abandoned, settings.home)
    jobs.start()
    return Service(
        settings=settings,
        catalog=catalog,
        collection=collection,
        searcher=_searcher(settings, catalog, collection, encoders, embed.submit, rerank),
        encoders=_describe(encoders, reranker),
        jobs=jobs,
        deleter=Deleter(settings),
        readiness=Readiness(catalog, collection, embed.submit, _logits(rerank)),
        metrics=metrics,
        parts=parts,
    )


class _Worker:
    """A batch worker with its grace, so that it closes like every other part."""

    def __init__(
        self, worker: BatchWorker[str, Embedding] | BatchWorker[_Pair, RerankScores], grace_s: float
    ) -> None:
        self._worker = worker
        self._grace_s = grace_s

    async def close(self) -> None:
        await self._worker.close(self._grace_s)


_Pair = tuple[str, tuple[str, ...]]
_RerankCall = Callable[[str, Sequence[str]], Awaitable[RerankScores]]


# The heavy rooms are imported where they are used: `import serving.state` is cheap.


def _open_catalog(settings: Settings) -> Catalog:
    from indexing.catalog import open_catalog

    return open_catalog(settings)


def _load_encoders(settings: Settings, catalog: Catalog) -> EncoderPair:
    from indexing.encoders import load_encoders

    average = catalog.meta("sparse_average_length")
    return load_encoders(settings.encoders, average_length=None if average is None else float(average))


def _load_reranker(settings: Settings) -> Reranker | None:
    if settings.rerank.model is None:
        return None
    from retrieval.rerank import load_reranker

    return load_reranker(settings.rerank)


async def _open_all(settings: Settings, catalog: Catalog) -> tuple[Collection, EncoderPair, Reranker | None]:
    """Load the models while the engine process starts; the two take about as long."""
    existing = asyncio.create_task(_open_existing(settings))
    try:
        encoders, reranker = await asyncio.gather(
            in_thread(_load_encoders, settings, catalog), in_thread(_load_reranker, settings)
        )
        collection = await existing
        try:
            return await _checked(settings, collection, encoders), encoders, reranker
        except BaseException:
            if collection is not None:
                await collection.close()
            raise
    finally:
        if not existing.done():
            existing.cancel()


async def _open_existing(settings: Settings) -> Collection | None:
    """Return the collection that is there, None when there is none yet."""
    from indexing.collection import open_collection

    try:
        return await open_collection(settings, None)
    except (CollectionUnavailableError, DamagedShardError):
        raise
    except CollectionError as error:
        logger.debug("no_collection_yet reason=%s", error)
        return None


async def _checked(settings: Settings, collection: Collection | None, encoders: EncoderPair) -> Collection:
    """Return the collection, made for these encoders or created for them.

    Raises:
        FingerprintMismatchError: other encoders built it.
    """
    from indexing.collection import open_collection
    from indexing.collection.protocol import check_spec
    from indexing.session import spec_of

    spec = spec_of(encoders)
    if collection is None:
        return await open_collection(settings, spec)
    check_spec((await collection.info()).spec, spec)
    return collection


def _searcher(
    settings: Settings,
    catalog: Catalog,
    collection: Collection,
    encoders: EncoderPair,
    embed: Callable[[str], Awaitable[Embedding]],
    rerank: _RerankCall | None,
) -> SearchFunction:
    from retrieval.search import Searcher

    return Searcher(
        collection,
        catalog,
        embed,
        retrieval=settings.retrieval,
        reranking=settings.rerank,
        coverage=encoders.coverage,
        min_coverage=settings.encoders.min_coverage,
        rerank=rerank,
    )


def _encode_worker(
    settings: Settings, encoders: EncoderPair, metrics: Metrics
) -> BatchWorker[str, Embedding]:
    worker = BatchWorker[str, Embedding](
        "encode",
        encoders.embed_queries,
        max_batch=settings.serving.batch_size,
        max_waiting=settings.serving.queue_size,
        observe=metrics.observe_batch("encode"),
    )
    metrics.watch_queue("encode", lambda: worker.waiting)
    worker.start()
    return worker


def _rerank_worker(
    settings: Settings, reranker: Reranker, metrics: Metrics
) -> BatchWorker[_Pair, RerankScores]:
    """One query a call: a cross-encoder batches over the query's own windows."""
    worker = BatchWorker[_Pair, RerankScores](
        "rerank",
        lambda pairs: [reranker.score(query, texts) for query, texts in pairs],
        max_batch=1,
        max_waiting=max(1, settings.serving.queue_size // _RERANK_LINE_SHARE),
        observe=metrics.observe_batch("rerank"),
    )
    metrics.watch_queue("rerank", lambda: worker.waiting)
    worker.start()
    return worker


def _rerank_call(worker: BatchWorker[_Pair, RerankScores]) -> _RerankCall:
    async def rerank(query: str, texts: Sequence[str]) -> RerankScores:
        return await worker.submit((query, tuple(texts)))

    return rerank


def _logits(rerank: _RerankCall | None) -> Callable[[str, Sequence[str]], Awaitable[Sequence[float]]] | None:
    if rerank is None:
        return None

    async def logits(query: str, texts: Sequence[str]) -> Sequence[float]:
        return [float(logit) for logit in (await rerank(query, texts)).logits]

    return logits


def _describe(encoders: EncoderPair, reranker: Reranker | None) -> EncodersReply:
    return EncodersReply(
        dense=encoders.dense_fingerprint.name,
        dense_fingerprint=encoders.dense_fingerprint.digest,
        dimensions=encoders.dimensions,
        sparse=encoders.sparse_fingerprint.name,
        sparse_fingerprint=encoders.sparse_fingerprint.digest,
        reranker=None if reranker is None else reranker.name,
    )
