"""Requests a minute for each caller: one token bucket a key.

Own code, because the ``limits`` package (5.8) offers windows and no bucket: a
window lets a whole minute's allowance through at once, twice at its edge, and
that burst is what the model's queue has to be kept from; its memory store
also starts a timer thread from the event loop.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_BURST_S = 10.0
_MOST_BUCKETS = 10_000


class RateLimiter:
    """Allowances of this process; two replicas allow twice as much.

    A bucket holds ten seconds' worth of requests, at least one, and fills
    evenly.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, per_minute: int) -> float:
        """Return 0.0 and count the request, or the seconds until one is allowed."""
        now = self._clock()
        rate = per_minute / 60
        most = max(1.0, rate * _BURST_S)
        held, at = self._buckets.get(caller, (most, now))
        held = min(most, held + (now - at) * rate)
        wait_s = 0.0 if held >= 1.0 else (1.0 - held) / rate
        self._buckets[caller] = (held - 1.0 if wait_s == 0.0 else held, now)
        self._buckets.move_to_end(caller)
        # Subjects of tokens come from outside; the longest unused bucket is full again anyway.
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return wait_s
