"""What the running service holds, opened once and closed in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from indexing.catalog import Catalog
from indexing.catalog.records import Window
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.errors import SettingsError
from indexing.records import Embedding
from indexing.settings import Settings
from retrieval.generation.protocol import Generator
from serving.admission import Admission
from serving.answering.cache import AnswerCache
from serving.answering.writer import AnswerWriter, load_synthesis
from serving.conversations import Conversations
from serving.deletion import Deleter
from serving.inspection.lexicon import Lexicon
from serving.jobs import JobRunner, ingest_command
from serving.looplag import LoopLag
from serving.metrics import Metrics
from serving.query_log import QueryLog
from serving.readiness import Readiness
from serving.reranking import LiveReranker, Load
from serving.schemas import EncodersReply
from serving.searching import SearchFunction, recorded_search
from serving.side_opening import SideOpener
from serving.sides import Side, Sides
from serving.threads import in_thread
from serving.uploads import remove_abandoned

logger = logging.getLogger(__name__)


class EmbedText(Protocol):
    """Both vectors of a text, as a question has them."""

    async def __call__(self, text: str) -> Embedding: ...


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
    admission: Admission | None = None
    embed_text: EmbedText | None = None
    lexicon: Lexicon | None = None
    collection_generation: int = 1
    writer: AnswerWriter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = AnswerWriter(
            partial(recorded_search, self),
            self.generator,
            self.settings.generation,
            self.settings.expansion,
            self._read_windows,
            self._answer_cache(),
        )

    async def _read_windows(self, tenant: str, points: Sequence[str], size: int) -> Sequence[Window | None]:
        return await in_thread(self.catalog.windows, tenant, points, size)

    def _answer_cache(self) -> AnswerCache | None:
        size = self.settings.generation.cache_answers
        if not size:
            return None

        async def revision(tenant: str) -> int:
            return await in_thread(self.catalog.revision, tenant)

        return AnswerCache(size, revision, lambda: f"{self.collection_generation} {self.reranker_name}")

    def take(self, side: Side) -> None:
        """Answer from this generation; without an await, so that no request sees half of it."""
        self.collection = side.collection
        self.searcher = side.searcher
        self.encoders = _describe(side.encoders)
        self.readiness = side.readiness
        self.embed_text = side.worker.query
        self.lexicon = Lexicon(side.encoders)
        self.collection_generation = side.number

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


async def open_service(
    settings: Settings, metrics: Metrics | None = None, load_reranker: Load | None = None
) -> Service:
    """Load the models, open the stores, and begin to look after jobs.

    A home folder without a collection gets an empty one.  ``load_reranker``
    opens reranker folders another way than usual: faults are tried with it.

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
        return await _open_parts(settings, metrics, catalog, parts, load_reranker)
    except BaseException:
        for part in reversed(parts):
            await part.close()
        await in_thread(catalog.close)
        raise


async def _open_parts(
    settings: Settings,
    metrics: Metrics,
    catalog: Catalog,
    parts: list[Closable],
    load_reranker: Load | None,
) -> Service:
    reranker = LiveReranker(settings, metrics, load_reranker)
    generator = _open_generator(settings)
    admission = _admission(settings, metrics)
    opener = SideOpener(settings, catalog, metrics, reranker, generator, admission)
    first = await opener.open(load_first=True)
    sides = Sides(
        catalog,
        metrics,
        first,
        opener.open,
        watch_s=settings.collection.watch_s,
        longest_s=settings.serving.deadline_s,
    )
    parts.append(sides)
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
    if generator is not None:
        parts.append(_Generation(generator, asyncio.create_task(load_synthesis())))
    conversations = await in_thread(Conversations, settings.home, days=settings.generation.conversation_days)
    jobs.start()
    service = Service(
        settings=settings,
        catalog=catalog,
        collection=first.collection,
        searcher=first.searcher,
        admission=admission,
        encoders=_describe(first.encoders),
        jobs=jobs,
        deleter=Deleter(settings),
        readiness=first.readiness,
        metrics=metrics,
        conversations=conversations,
        generator=generator,
        reranker=reranker,
        parts=parts,
        query_log=query_log,
        embed_text=first.worker.query,
        lexicon=Lexicon(first.encoders),
        collection_generation=first.number,
    )
    sides.start(service.take)
    return service


def _open_generator(settings: Settings) -> Generator | None:
    if settings.generation.url is None:
        return None
    # The HTTP client takes longer to import than everything else here.
    from retrieval.generation.client import open_generator

    return open_generator(settings.generation, settings.home)


class _Generation:
    """The language model's client as a part that closes.

    ``loading`` imports what the first answer needs, while the rest opens.
    """

    def __init__(self, generator: Generator, loading: asyncio.Task[object]) -> None:
        self._generator = generator
        self._loading = loading

    async def close(self) -> None:
        self._loading.cancel()
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


def _admission(settings: Settings, metrics: Metrics) -> Admission:
    serving = settings.serving
    refused = metrics.refused.labels("search")
    admission = Admission(
        "search",
        queue_size=serving.queue_size,
        max_wait_s=serving.max_wait_s,
        patience_s=serving.deadline_s / 2,  # what comes next has to be done by then too
        on_refusal=refused.inc,
    )
    metrics.watch_queue("search", lambda: admission.waiting)
    return admission


def _describe(encoders: EncoderPair) -> EncodersReply:
    return EncodersReply(
        dense=encoders.dense_fingerprint.name,
        dense_fingerprint=encoders.dense_fingerprint.digest,
        dimensions=encoders.dimensions,
        sparse=encoders.sparse_fingerprint.name,
        sparse_fingerprint=encoders.sparse_fingerprint.digest,
        reranker=None,  # may change at any time: the route asks
    )
