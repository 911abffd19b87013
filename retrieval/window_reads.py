"""Windows from the catalogue: read on the event loop while that is quick, in a thread while it is not.

A dozen windows that the system has in memory are read in half a millisecond.
To hand that to a thread and to come back takes as long, and milliseconds where
an idle core has to wake for each.  A catalogue on a slow or a cold disk is
another matter: one slow read sends the next ones to threads, until they are
quick again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from indexing.catalog.records import Window

QUICK_S = 0.005
"""The longest read that may hold up the event loop a second time."""
MOST_ON_THE_LOOP = 64
_THREADS = 4


class WindowSource(Protocol):
    """The part of the catalogue that a search needs; safe to call from several threads."""

    def windows(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]: ...


class WindowReader:
    """Reads windows for the searches of one event loop.

    Args:
        source: the catalogue.
        clock: seconds, for the tests.
    """

    def __init__(self, source: WindowSource, clock: Callable[[], float] = perf_counter) -> None:
        self._source = source
        self._clock = clock
        self._quick = False  # nothing is known before the first read
        self._limiter: anyio.CapacityLimiter | None = None

    async def read(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
        """Return the window of each point, None where its version is not live."""
        if self._quick and len(points) <= MOST_ON_THE_LOOP:
            return self._timed(tenant, points, size)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(
            self._timed,
            tenant,
            points,
            size,
            abandon_on_cancel=True,  # it only reads
            limiter=self._limiter,
        )

    def _timed(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
        began = self._clock()
        found = self._source.windows(tenant, points, size)
        if len(points) <= MOST_ON_THE_LOOP:  # a long list says nothing about a short one
            self._quick = self._clock() - began <= QUICK_S
        return found
