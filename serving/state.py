"""What the running service holds, opened once and closed in order."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from indexing.catalog import Catalog
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.errors import CollectionError, CollectionUnavailableError, DamagedShardError, SettingsError
from indexing.settings import Settings
from retrieval.generation.protocol import Generator
from retrieval.records import SearchRequest, SearchResponse
from serving.answering.cache import AnswerCache
from serving.answering.writer import AnswerWriter
from serving.conversations import Conversations
from serving.deletion import Deleter
from serving.encoding import EncodeWorker
from serving.jobs import JobRunner, ingest_command
from serving.looplag import LoopLag
from serving.metrics import Metrics
from serving.query_log import QueryLog
from serving.readiness import Readiness
from serving.reranking import LiveReranker
from serving.schemas import EncodersReply
from serving.searching import recorded_search
from serving.threads import in_thread
from serving.uploads import remove_abandoned

logger = logging.getLogger(__name__)


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
    conversations: Conversations
    reranker: LiveReranker | None = None
    parts: list[Closable] = field(default_factory=list)
    query_log: QueryLog | None = None
    generator: Generator | None = None
    writer: AnswerWriter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = AnswerWriter(
            partial(recorded_search, self),
            self.generator,
            self.settings.generation,
            self.settings.expansion,
            self._answer_cache(),
        )

    def _answer_cache(self) -> AnswerCache | None:
        size = self.settings.generation.cache_answers
        if not size:
            return None

        async def revision(tenant: str) -> int:
            return await in_thread(self.catalog.revision, tenant)

        return AnswerCache(size, revision, lambda: self.reranker_name)

    @property
    def reranker_name(self) -> str | None:
        """Name of the reranker in use now, None when there is none."""
        return self.encoders.reranker if self.reranker is None else self.reranker.name

    async def close(self) -> None:
        """Stop the ingest process, finish the model's work, let go of the stores."""
        for part in reversed(self.parts):
            try:
                await part.close()
            except Exception:
                # The others still have to be closed.
                logger.exception("close_failed part=%s", type(part).__name__)
        await in_thread(self.conversations.close)
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
    reranker = LiveReranker(settings, metrics)
    collection, encoders = await _open_all(settings, catalog, reranker)
    parts.append(collection)
    worker = EncodeWorker(encoders, settings.serving, metrics, lambda: _average_length(catalog))
    parts.append(worker)
    reranker.start()
    parts.append(reranker)
    jobs = JobRunner(ingest_command(settings.home), lambda: in_thread(catalog.unfinished_jobs), metrics)
    lag = LoopLag(metrics)
    lag.start()
    parts.extend((lag, jobs))
    query_log = await in_thread(_open_query_log, settings)
    if query_log is not None:
        parts.append(query_log)
    await in_thread(remove_abandoned, settings.home)
    generator = _open_generator(settings)
    if generator is not None:
        parts.append(_Generation(generator))
    conversations = await in_thread(Conversations, settings.home, days=settings.generation.conversation_days)
    jobs.start()
    return Service(
        settings=settings,
        catalog=catalog,
        collection=collection,
        searcher=_searcher(settings, catalog, collection, encoders, worker, reranker),
        encoders=_describe(encoders),
        jobs=jobs,
        deleter=Deleter(settings),
        readiness=Readiness(
            catalog,
            collection,
            worker.query,
            reranker.check if reranker.possible else None,
            None if generator is None else generator.check,
            _optional(settings),
        ),
        metrics=metrics,
        conversations=conversations,
        generator=generator,
        reranker=reranker,
        parts=parts,
        query_log=query_log,
    )


def _open_generator(settings: Settings) -> Generator | None:
    if settings.generation.url is None:
        return None
    # The HTTP client takes longer to import than everything else here.
    from retrieval.generation.client import open_generator

    return open_generator(settings.generation, settings.home)


def _optional(settings: Settings) -> frozenset[str]:
    """Without the language model sentences are quoted, unless that is ruled out."""
    return frozenset({"generation"} if settings.generation.fallback == "extractive" else ())


class _Generation:
    """The language model's client as a part that closes."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def close(self) -> None:
        await self._generator.aclose()


# The heavy rooms are imported where they are used: `import serving.state` is cheap.


def _open_catalog(settings: Settings) -> Catalog:
    from indexing.catalog import open_catalog

    return open_catalog(settings)


def _open_query_log(settings: Settings) -> QueryLog | None:
    serving = settings.serving
    if serving.query_log is None:
        return None
    size = int(serving.query_log_mb * 1_000_000)
    return QueryLog(serving.query_log, settings.retrieval.mode, max_bytes=size)


def _load_encoders(settings: Settings, catalog: Catalog) -> EncoderPair:
    from indexing.encoders import load_encoders

    return load_encoders(settings.encoders, average_length=_average_length(catalog))


def _average_length(catalog: Catalog) -> float | None:
    average = catalog.meta("sparse_average_length")
    return None if average is None else float(average)


async def _open_all(
    settings: Settings, catalog: Catalog, reranker: LiveReranker
) -> tuple[Collection, EncoderPair]:
    """Load the models while the engine process starts; the two take about as long."""
    existing = asyncio.create_task(_open_existing(settings))
    try:
        encoders, _ = await asyncio.gather(
            in_thread(_load_encoders, settings, catalog), in_thread(reranker.load_first)
        )
        collection = await existing
        try:
            return await _checked(settings, collection, encoders), encoders
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
    worker: EncodeWorker,
    reranker: LiveReranker,
) -> SearchFunction:
    from retrieval.search import Searcher

    return Searcher(
        collection,
        catalog,
        worker.query,
        retrieval=settings.retrieval,
        reranking=settings.rerank,
        coverage=encoders.coverage,
        min_coverage=settings.encoders.min_coverage,
        rerank=reranker.score if reranker.possible else None,
        has_reranker=reranker.available,
        embed_document=worker.document,
    )


def _describe(encoders: EncoderPair) -> EncodersReply:
    return EncodersReply(
        dense=encoders.dense_fingerprint.name,
        dense_fingerprint=encoders.dense_fingerprint.digest,
        dimensions=encoders.dimensions,
        sparse=encoders.sparse_fingerprint.name,
        sparse_fingerprint=encoders.sparse_fingerprint.digest,
        reranker=None,  # may change at any time: the route asks
    )
