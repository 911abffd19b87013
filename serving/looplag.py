"""How late the event loop is: the one number that tells when something blocks it."""

from __future__ import annotations

import asyncio

from serving.metrics import Metrics

_EVERY_S = 0.05


class LoopLag:
    """Sleep a little, again and again, and record how much longer it took."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure; needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="winnow-loop-lag")

    async def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self._metrics.loop_lag.observe(max(0.0, loop.time() - due))
