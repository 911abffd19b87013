"""Starts the replicas, waits until all answer, starts again one that dies, stops them all."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic

from serving.vllm.command import arguments, environment, on_cpu
from serving.vllm.replica import Replica, ReplicaError
from serving.vllm.settings import VllmSettings

log = logging.getLogger(__name__)

_WINDOW_S = 3600.0
_PAUSE_S = 1.0

Say = Callable[[str], None]


def make_replicas(
    settings: VllmSettings,
    base: Mapping[str, str],
    *,
    extra: tuple[str, ...] = (),
    api_key: str | None = None,
) -> list[Replica]:
    """Return the replicas of the settings, not started."""
    cpu = on_cpu(settings)
    state = settings.state.expanduser().absolute()
    return [
        Replica(
            arguments(settings, number, extra),
            environment(settings, number, base, cpu=cpu, api_key=api_key),
            url=settings.url(number),
            log=state / f"replica-{number}.log",
            pid_file=state / f"replica-{number}.pid",
        )
        for number in range(settings.replicas)
    ]


async def supervise(
    replicas: list[Replica],
    settings: VllmSettings,
    stop: asyncio.Event,
    say: Say,
    *,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the replicas until ``stop`` is set; every exit leaves none behind.

    Args:
        say: told what happens, a line at a time.
        ready: called once, when all replicas answer.

    Raises:
        ReplicaError: one does not start, or died more often than allowed.
    """
    try:
        await asyncio.gather(*(_begin(replica, settings, stop, say) for replica in replicas))
        if stop.is_set():
            return
        ready()
        watches = [asyncio.create_task(_watch(replica, settings, stop, say)) for replica in replicas]
        try:
            await asyncio.gather(*watches)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
    finally:
        await asyncio.gather(*(replica.stop(settings.stop_timeout_s) for replica in replicas))


async def _begin(replica: Replica, settings: VllmSettings, stop: asyncio.Event, say: Say) -> None:
    await replica.start()
    say(f"starting {replica.url}, log in {replica.log}")
    began = monotonic()
    waiting = asyncio.create_task(replica.wait_ready(settings.ready_timeout_s))
    stopping = asyncio.create_task(stop.wait())
    told = ""
    try:
        while not waiting.done() and not stopping.done():
            await asyncio.wait({waiting, stopping}, timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
            line = replica.tail(1)
            if line != told and not waiting.done():
                told = line
                say(f"{monotonic() - began:.0f} s: {line[-160:]}")
    finally:
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
    if waiting.done() and not waiting.cancelled():
        waiting.result()
        say(f"{replica.url} is ready after {monotonic() - began:.0f} s")


async def _watch(replica: Replica, settings: VllmSettings, stop: asyncio.Event, say: Say) -> None:
    """Start the replica again when it ends, until it ended too often."""
    deaths: deque[float] = deque()
    stopping = asyncio.create_task(stop.wait())
    try:
        while True:
            ended = asyncio.create_task(replica.ended())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                ended.cancel()
                return
            code = ended.result()
            now = monotonic()
            deaths.append(now)
            while deaths and now - deaths[0] > _WINDOW_S:
                deaths.popleft()
            if len(deaths) > settings.restarts:
                raise ReplicaError(
                    f"{replica.url} ended {len(deaths)} times within an hour, last with code {code}:\n"
                    f"{replica.tail()}"
                )
            say(f"{replica.url} ended with code {code}; starting it again")
            log.warning("replica_ended url=%s code=%d", replica.url, code)
            await replica.stop(settings.stop_timeout_s)
            await asyncio.sleep(_PAUSE_S)
            await _begin(replica, settings, stop, say)
    finally:
        stopping.cancel()
