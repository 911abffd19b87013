"""A blocked event loop shows in the metrics."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.looplag import LoopLag
from serving.metrics import Metrics

pytestmark = pytest.mark.anyio


def slow_wakes(metrics: Metrics) -> float:
    """How many wakes were more than 0.1 s late."""
    count = metrics.registry.get_sample_value("winnow_loop_lag_seconds_count") or 0.0
    return count - (metrics.registry.get_sample_value("winnow_loop_lag_seconds_bucket", {"le": "0.1"}) or 0.0)


async def test_a_blocking_call_is_seen() -> None:
    metrics = Metrics()
    lag = LoopLag(metrics)
    lag.start()
    await asyncio.sleep(0)
    before = slow_wakes(metrics)
    time.sleep(0.3)  # noqa: ASYNC251 - the very mistake that is to be seen
    async with asyncio.timeout(10):
        while slow_wakes(metrics) == before:
            await asyncio.sleep(0.01)
    await lag.close()
