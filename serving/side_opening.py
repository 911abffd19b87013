"""Open one generation of the collection for the service: the models, the engine, the searcher over both."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from indexing.catalog import Catalog
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.errors import CollectionError, CollectionUnavailableError, DamagedShardError
from indexing.migration.lease import Lease, reading
from indexing.migration.sides import served_settings
from indexing.settings import Settings
from retrieval.generation.protocol import Generator
from serving.admission import Admission
from serving.encoding import EncodeWorker
from serving.metrics import Metrics
from serving.readiness import Readiness
from serving.reranking import LiveReranker
from serving.sides import Side
from serving.threads import in_thread

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SideOpener:
    """Opens the generation that is served; ``settings`` are as configured."""

    settings: Settings
    catalog: Catalog
    metrics: Metrics
    reranker: LiveReranker
    generator: Generator | None
    admission: Admission

    async def open(self, *, load_first: bool = False) -> Side:
        """Return the side, and with ``load_first`` load the reranker meanwhile.

        Raises:
            FingerprintMismatchError: other encoders built the collection.
            WinnowError: a store or a model does not open.
        """
        pair, lease = await in_thread(reading, self.settings.home, self.catalog)
        try:
            settings = served_settings(self.settings, pair)
            average = partial(self.catalog.generations.average, pair.number)
            collection, encoders = await _open_all(
                settings, await in_thread(average), self.reranker if load_first else None
            )
        except BaseException:
            lease.close()
            raise
        worker = EncodeWorker(encoders, settings.serving, self.metrics, average)
        return self._side(settings, pair.number, collection, encoders, worker, lease)

    def _side(
        self,
        settings: Settings,
        number: int,
        collection: Collection,
        encoders: EncoderPair,
        worker: EncodeWorker,
        lease: Lease,
    ) -> Side:
        from retrieval.search import Searcher

        reranker = self.reranker
        searcher = Searcher(
            collection,
            self.catalog,
            worker.query,
            retrieval=settings.retrieval,
            reranking=settings.rerank,
            coverage=encoders.coverage,
            min_coverage=settings.encoders.min_coverage,
            rerank=reranker.score if reranker.possible else None,
            stored_tokens=reranker.stored_tokens(collection),
            has_reranker=reranker.available,
            embed_document=worker.document,
            admit=self.admission.admitted,
            generation=number,
        )
        readiness = Readiness(
            self.catalog,
            collection,
            worker.query,
            reranker.check if reranker.possible else None,
            None if self.generator is None else self.generator.check,
            _optional(settings),
        )
        return Side(number, collection, encoders, worker, searcher, readiness, lease)


def _optional(settings: Settings) -> frozenset[str]:
    """Without the language model sentences are quoted, unless that is ruled out."""
    return frozenset({"generation"} if settings.generation.fallback == "extractive" else ())


# The heavy rooms are imported where they are used: importing this is cheap.


def _load_encoders(settings: Settings, average: float | None) -> EncoderPair:
    from indexing.encoders import load_encoders

    return load_encoders(settings.encoders, average_length=average)


async def _open_all(
    settings: Settings, average: float | None, reranker: LiveReranker | None
) -> tuple[Collection, EncoderPair]:
    """Load the models while the engine process starts; the two take about as long."""
    existing = asyncio.create_task(_open_existing(settings))
    try:
        loading = in_thread(_load_encoders, settings, average)
        if reranker is None:
            encoders = await loading
        else:
            encoders, _ = await asyncio.gather(loading, in_thread(reranker.load_first))
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
