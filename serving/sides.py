"""The generation of the collection that this service answers from, and the change to another one.

A *side* is everything that belongs to one generation: its collection, its
encoders behind their worker, the searcher over both.  ``python -m indexing
migrate switch`` moves a row in the catalogue; the service looks at it every
``collection.watch_s``, opens the other side beside the old one, and takes it
over in one step without an await.  A search holds one searcher, so its query is
encoded by the encoders of the collection it reads.  Until the old side's last
request is done, both are open; a failure to open the new one costs no request,
since the old one gets every write until it is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from indexing.catalog import Catalog
from indexing.collection.protocol import Collection
from indexing.encoders.protocols import EncoderPair
from indexing.migration.lease import Lease
from serving.encoding import EncodeWorker
from serving.readiness import Readiness
from serving.threads import in_thread

if TYPE_CHECKING:
    from retrieval.search import Searcher
    from serving.metrics import Metrics

logger = logging.getLogger(__name__)

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Side:
    """One generation, open; ``lease`` keeps it from being dropped."""

    number: int
    collection: Collection
    encoders: EncoderPair
    worker: EncodeWorker
    searcher: Searcher
    readiness: Readiness
    lease: Lease

    async def close(self) -> None:
        try:
            await self.worker.close()
            await self.collection.close()
        finally:
            self.lease.close()


class Sides:
    """Keeps the service on the generation that is served; a part that is closed with it.

    Args:
        first: what the service starts with.
        open_side: opens the generation that is served now.
        take: called with the new side; changes every reference in one step.
        watch_s: pause between two looks; 0: no looks.
        longest_s: the longest that a request, other than a search, may hold a side.
    """

    def __init__(
        self,
        catalog: Catalog,
        metrics: Metrics,
        first: Side,
        open_side: Callable[[], Awaitable[Side]],
        *,
        watch_s: float,
        longest_s: float,
    ) -> None:
        self.current = first
        self._catalog = catalog
        self._metrics = metrics
        self._open_side = open_side
        self._watch_s = watch_s
        self._longest_s = longest_s
        self._watcher: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._trouble = ""
        metrics.collection_generation.set(first.number)

    def start(self, take: Callable[[Side], None]) -> None:
        """Begin to look; needs a running event loop."""
        if self._watch_s:
            self._watcher = asyncio.create_task(self._watch(take), name="winnow-generation-watch")

    async def close(self) -> None:
        tasks = {task for task in (self._watcher, *self._leaving) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.current.close()

    async def _watch(self, take: Callable[[Side], None]) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            try:
                pair = await in_thread(self._catalog.generations.pair)
                if pair.number != self.current.number:
                    await self._follow(take)
            except Exception as error:
                # Whatever is wrong with the new side, the old one goes on.
                self._refuse(f"{type(error).__name__}: {error}")

    async def _follow(self, take: Callable[[Side], None]) -> None:
        began = perf_counter()
        side = await self._open_side()
        old, self.current = self.current, side
        take(side)
        self._trouble = ""
        self._metrics.collection_generation.set(side.number)
        took = (perf_counter() - began) * 1000
        logger.info("generation_taken before=%d now=%d ms=%.0f", old.number, side.number, took)
        task = asyncio.create_task(self._leave(old), name="winnow-generation-leave")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, old: Side) -> None:
        """Close a side when no request can hold it any more."""
        try:
            await asyncio.sleep(self._longest_s)
            while old.searcher.running:  # noqa: ASYNC110 - a count, so that a search costs no event
                await asyncio.sleep(_POLL_S)
        finally:
            await old.close()
        logger.info("generation_left number=%d", old.number)

    def _refuse(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.error("generation_kept now=%d reason=%s", self.current.number, trouble)
        self._trouble = trouble
