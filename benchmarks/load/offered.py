"""Offered load: one client after the other, as many as fit, and an open loop at a fixed rate."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.load.client import HEALTH, Answer, Connection

_HEALTH_EVERY_S = 0.05
_LONGER = 4


@dataclass(slots=True)
class Tally:
    """Answers of one phase."""

    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    unsent: int = 0  # arrivals for which no socket was free

    def end(self) -> None:
        self.seconds = time.perf_counter() - self.began

    @property
    def accepted(self) -> list[float]:
        """Seconds of the 200s, ascending."""
        return sorted(one.seconds for one in self.answers if one.status == 200)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(one.status for one in self.answers)

    @property
    def rate(self) -> float:
        """200s a second."""
        return len(self.accepted) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds that this share of the accepted stay within; nan without any."""
        return quantile(self.accepted, share)


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value at a share of an ascending list (nearest rank); nan for an empty one."""
    if not ascending:
        return float("nan")
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


async def closed_loop(
    port: int, clients: int, seconds: float, request: Callable[[int], bytes], at_least: int = 0
) -> Tally:
    """Return what ``clients`` saw, each asking again as soon as it has its answer.

    It goes on for up to four times as long where ``at_least`` answers take it.
    """
    tally = Tally()
    end = tally.began + seconds
    last = tally.began + _LONGER * seconds

    async def ask(first: int) -> None:
        connection, number = Connection(port), first
        while (now := time.perf_counter()) < end or (len(tally.answers) < at_least and now < last):
            tally.answers.append(await connection.ask(request(number)))
            number += clients
        connection.close()

    await asyncio.gather(*(ask(number) for number in range(clients)))
    tally.end()
    return tally


async def open_loop(
    port: int, rate: float, seconds: float, sockets: int, request: Callable[[int], bytes], seed: int
) -> Tally:
    """Return what happens to requests that come at ``rate`` a second, whatever becomes of the others.

    Arrivals are those of a Poisson process; one that finds all ``sockets``
    busy is counted and not sent.
    """
    chance = random.Random(seed)  # noqa: S311 - arrivals, no secret
    free = [Connection(port) for _ in range(sockets)]
    tally = Tally()
    running: set[asyncio.Task[None]] = set()

    async def ask(connection: Connection, number: int) -> None:
        tally.answers.append(await connection.ask(request(number)))
        free.append(connection)

    due, number = tally.began, 0
    while due < tally.began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        # Whoever is due by now is sent at once: a late loop must not thin the load.
        while due <= time.perf_counter():
            if free:
                task = asyncio.create_task(ask(free.pop(), number))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                tally.unsent += 1
            due += chance.expovariate(rate)
            number += 1
    await asyncio.gather(*running)
    tally.end()
    for connection in free:
        connection.close()
    return tally


async def watch_health(port: int, stop: asyncio.Event) -> Tally:
    """Return the answers of ``/health``, asked twenty times a second until ``stop``."""
    tally = Tally()
    connection = Connection(port)
    while not stop.is_set():
        tally.answers.append(await connection.ask(HEALTH))
        await asyncio.sleep(_HEALTH_EVERY_S)
    connection.close()
    tally.end()
    return tally
