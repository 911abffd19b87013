"""Who may begin now: a few at once, the rest in line, and in an overload nobody waits.

A line that overflows, or in which one waits too long or would by its length,
means that more comes than can be served.  Waiting then makes everybody late and nobody
faster, so from that moment a request is either begun at once or refused at
once, until fewer are refused than served.  How many work at once is learned:
as many as leave the median near what it is for a request that is alone (the
idea of TCP Vegas, and of Netflix's concurrency-limits).
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from indexing.errors import QueueFullError

logger = logging.getLogger(__name__)

_MOST = 64
_LOOK_AFTER = 20  # requests between two changes of the limit
_HOLD = 10  # such looks after a fall: what was too many is not tried again at once
_ALONE = 50  # remembered durations of requests that were alone
_TOO_SLOW, _FAST_ENOUGH = 1.3, 1.1  # median over that of lone requests
_WINDOW_S = 1.0
_PACE_SHARE = 0.2


class Limit:
    """How many may work at once, learned from how long they take.

    Args:
        most: the highest it may become; equal to ``fewest`` it is fixed.
    """

    def __init__(self, fewest: int = 1, most: int = _MOST) -> None:
        self._fewest, self._most = fewest, most
        self.value = min(max(fewest, os.cpu_count() or 1), most)
        self._alone: deque[float] = deque(maxlen=_ALONE)
        self._recent: list[float] = []
        self._reached = False
        self._hold = 0  # looks until it may rise again

    def reached(self) -> None:
        """Say that somebody had to wait because of the limit."""
        self._reached = True

    def record(self, seconds: float, alone: bool) -> None:
        """Learn from one request."""
        if alone:
            self._alone.append(seconds)
        self._recent.append(seconds)
        if len(self._recent) < _LOOK_AFTER:
            return
        if self._alone:
            slower = statistics.median(self._recent) / statistics.median(self._alone)
            self._hold = max(0, self._hold - 1)
            if slower > _TOO_SLOW:
                self.value = max(self._fewest, self.value - max(1, self.value // 8))
                self._hold = _HOLD
            elif self._reached and slower < _FAST_ENOUGH and not self._hold:
                self.value = min(self._most, self.value + 1)
        self._recent, self._reached = [], False


class Admission:
    """A limit on concurrent work, with a line before it that is bounded in number and in time.

    Args:
        name: of the line, in messages and metrics.
        queue_size: most that wait.
        max_wait_s: a line in which the last would wait longer, at the pace at
            which it moves, is full.
        patience_s: longest anybody waits, should the line stand still.
        limit: how many work at once.
        on_refusal: called for each that is refused.
    """

    def __init__(
        self,
        name: str,
        *,
        queue_size: int,
        max_wait_s: float,
        patience_s: float,
        limit: Limit | None = None,
        on_refusal: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.limit = limit or Limit()
        self._queue_size = queue_size
        self._max_wait_s = max_wait_s
        self._patience_s = patience_s
        self._on_refusal = on_refusal
        self._working = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._overloaded = False
        self._window_began = 0.0
        self._refused = self._served = 0
        self._pace_s = 0.0  # between two endings while somebody waits
        self._ended_at: float | None = None

    @property
    def working(self) -> int:
        """How many work now."""
        return self._working

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(not one.done() for one in self._line)

    @property
    def overloaded(self) -> bool:
        """Whether nobody may wait now."""
        now = time.monotonic()
        if self._overloaded and now - self._window_began >= _WINDOW_S:
            self._overloaded = self._refused > self._served
            self._begin_window(now)
            if not self._overloaded:
                logger.warning("overload_over line=%s", self.name)
        return self._overloaded

    def turn_away(self) -> None:
        """Refuse now what would be refused later, before any work is spent on it.

        Raises:
            QueueFullError: nobody may wait, and nobody may begin.
        """
        if self.overloaded and self._working >= self.limit.value:
            self.limit.reached()
            raise self._refusal()

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Hold a place while the block works.

        Raises:
            QueueFullError: there is none, or none came in time.
        """
        await self._enter()
        alone = self._working == 1
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._leave()
            raise
        # What failed or was cancelled tells nothing of how long the work takes, and nobody is alone beside
        # those who are refused: a limit compared with them would rise until all are as slow.
        lone = alone and self._working == 1 and not self._overloaded
        self.limit.record(time.monotonic() - began, lone)
        self._served += 1
        self._measure_pace()
        self._leave()

    async def _enter(self) -> None:
        if self._working < self.limit.value and not self._line:
            self._working += 1
            return
        self.limit.reached()
        if self.overloaded:
            raise self._refusal()
        if len(self._line) >= self._queue_size or len(self._line) * self._pace_s > self._max_wait_s:
            self._begin_overload()
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except TimeoutError:
            self._begin_overload()
            raise self._refusal() from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # its turn had just come
            raise
        finally:
            if turn in self._line:
                self._line.remove(turn)

    def _leave(self) -> None:
        """Give the place to the next in line, or let it go."""
        self._working -= 1
        while self._line and self._working < self.limit.value:
            turn = self._line.popleft()
            if not turn.done():
                self._working += 1
                turn.set_result(None)

    def _measure_pace(self) -> None:
        """Learn how fast the line moves: only while there is one, since else the pace is that of arrivals."""
        now = time.monotonic()
        if self._ended_at is not None:
            took = now - self._ended_at
            # From nothing upwards: one standstill at the beginning is no pace.
            self._pace_s += _PACE_SHARE * (took - self._pace_s)
        self._ended_at = now if self._line else None

    def _begin_overload(self) -> None:
        """Refuse everyone who waits."""
        if not self._overloaded:
            logger.warning("overload line=%s waiting=%d limit=%d", self.name, self.waiting, self.limit.value)
        self._overloaded = True
        self._begin_window(time.monotonic())
        line, self._line = self._line, deque()
        for turn in line:
            if not turn.done():
                turn.set_exception(self._refusal())

    def _begin_window(self, now: float) -> None:
        self._window_began = now
        self._refused = self._served = 0

    def _refusal(self) -> QueueFullError:
        self._refused += 1
        if self._on_refusal is not None:
            self._on_refusal()
        return QueueFullError(f"more requests than can be served: no place in the line for {self.name}")
