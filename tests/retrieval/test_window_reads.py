"""Where windows are read: on the loop while that is quick, in a thread while it is not."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import anyio
import pytest

from indexing.identity import point_id
from retrieval.window_reads import MOST_ON_THE_LOOP, QUICK_S, WindowReader

pytestmark = pytest.mark.anyio


class Catalogue:
    """Each read takes the next of ``seconds`` by its own clock; ``on_loop`` tells where it ran."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = list(seconds)
        self._loop_thread = threading.get_ident()
        self.now = 0.0
        self.on_loop: list[bool] = []

    def windows(self, tenant: str, points: Sequence[str], size: int) -> list[None]:
        self.now += self._seconds.pop(0)
        self.on_loop.append(threading.get_ident() == self._loop_thread)
        return [None] * len(points)


def points(count: int) -> list[str]:
    return [point_id("default", "d", "v", ordinal) for ordinal in range(count)]


async def test_the_first_read_is_in_a_thread_and_quick_ones_stay_on_the_loop() -> None:
    source = Catalogue(0.0, 0.0, QUICK_S, 0.0)
    reader = WindowReader(source, lambda: source.now)
    for _ in range(4):
        assert await reader.read("default", points(3), 2) == [None] * 3
    assert source.on_loop == [False, True, True, True]


async def test_a_slow_read_holds_the_loop_once_and_threads_read_until_it_is_quick_again() -> None:
    source = Catalogue(0.0, 10.0, 10.0, 0.0, 0.0)
    reader = WindowReader(source, lambda: source.now)
    for _ in range(5):
        await reader.read("default", points(3), 2)
    assert source.on_loop == [False, True, False, False, True]


async def test_long_lists_are_read_in_threads_and_say_nothing_about_short_ones() -> None:
    source = Catalogue(0.0, 10.0, 0.0)
    reader = WindowReader(source, lambda: source.now)
    for count in (MOST_ON_THE_LOOP, MOST_ON_THE_LOOP + 1, MOST_ON_THE_LOOP):
        await reader.read("default", points(count), 2)
    assert source.on_loop == [False, False, True]


async def test_a_caller_may_leave_a_read_in_a_thread() -> None:
    """The read does not end before its caller has gone; on the loop the timeout would never come."""
    gone = threading.Event()

    class Stuck:
        def windows(self, tenant: str, points: Sequence[str], size: int) -> list[None]:
            gone.wait(30)
            return [None] * len(points)

    try:
        with anyio.move_on_after(0.05) as left:
            await WindowReader(Stuck()).read("default", points(1), 2)
        assert left.cancelled_caught
    finally:
        gone.set()


async def test_what_the_catalogue_raises_comes_through() -> None:
    class Broken:
        def windows(self, tenant: str, points: Sequence[str], size: int) -> list[None]:
            raise OSError("disk I/O error")

    reader = WindowReader(Broken())
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            await reader.read("default", points(1), 2)
