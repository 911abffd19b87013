"""How long a client may take to send a body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from indexing.settings import ServingSettings
from serving.errors import UploadStalledError

T = TypeVar("T")


class ArrivalClock:
    """Counts the seconds that are spent waiting for one client's bytes, and those only.

    A body may take ``serving.read_timeout_s`` beside a second for every
    ``serving.min_bytes_per_s`` that have arrived: a slow line is let, a
    client that trickles is not.

    Args:
        idle_s: longest single pause; None: the time above alone decides.
    """

    def __init__(self, settings: ServingSettings, idle_s: float | None = None) -> None:
        self._grace_s = settings.read_timeout_s
        self._rate = settings.min_bytes_per_s
        self._idle_s = idle_s
        self._waited_s = 0.0
        self.received = 0

    async def wait(self, arriving: Awaitable[T]) -> T:
        """Return what arrives.

        Raises:
            UploadStalledError: the client's time is over.
        """
        left_s = self._grace_s + self.received / self._rate - self._waited_s
        if self._idle_s is not None:
            left_s = min(left_s, self._idle_s)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await arriving
        except TimeoutError as error:
            waited_s = self._waited_s + loop.time() - began
            raise UploadStalledError(
                f"{self.received} bytes of the body came in {waited_s:.1f} s, fewer than "
                f"{self._rate:g} a second; send it faster, or in parts"
            ) from error
        finally:
            self._waited_s += loop.time() - began
