"""A few at once, the rest in line, and in an overload nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from indexing.errors import QueueFullError
from serving.admission import Admission, Limit

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0


class Crowd:
    """Tasks that hold a place until they are told to go."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.go = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._work()) for _ in range(count)]
        for _ in range(3):
            await asyncio.sleep(0)

    async def _work(self) -> None:
        async with self.admission.admitted():
            await self.go.wait()

    async def outcomes(self) -> list[BaseException | None]:
        self.go.set()
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.gather(*self.tasks, return_exceptions=True)


def admission(
    *, most: int = 2, queue_size: int = 3, max_wait_s: float = 5.0, patience_s: float = 5.0
) -> Admission:
    return Admission(
        "test", queue_size=queue_size, max_wait_s=max_wait_s, patience_s=patience_s, limit=Limit(most, most)
    )


async def test_the_rest_wait_in_order_and_all_are_served() -> None:
    door = admission()
    order: list[int] = []

    async def work(number: int) -> None:
        async with door.admitted():
            assert door.working <= 2
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(work(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert (door.working, door.waiting, door.overloaded) == (0, 0, False)


async def test_a_line_that_overflows_is_refused_as_a_whole_and_nobody_waits_then() -> None:
    door = admission()
    crowd = Crowd(door)
    await crowd.come(5)
    assert (door.working, door.waiting) == (2, 3)
    await crowd.come()
    assert door.overloaded
    assert (door.working, door.waiting) == (2, 0)
    with pytest.raises(QueueFullError) as refusal:
        door.turn_away()
    assert refusal.value.retry_after_s >= 1
    outcomes = await crowd.outcomes()
    assert [outcome is None for outcome in outcomes] == [True, True, False, False, False, False]
    assert all(outcome is None or isinstance(outcome, QueueFullError) for outcome in outcomes)
    door.turn_away()  # there is room: whoever comes now may begin
    async with door.admitted():
        assert door.working == 1


async def test_the_overload_ends_when_fewer_are_refused_than_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.admission._WINDOW_S", 0.05)
    door = admission(queue_size=1)
    crowd = Crowd(door)
    await crowd.come(4)
    assert door.overloaded
    with pytest.raises(QueueFullError):
        door.turn_away()
    await crowd.outcomes()
    await asyncio.sleep(0.06)
    # More were refused than served: it may still be going on.
    assert door.overloaded
    async with door.admitted():
        pass
    await asyncio.sleep(0.06)
    assert not door.overloaded


async def test_nobody_waits_longer_than_the_limit() -> None:
    door = admission(patience_s=0.05)
    crowd = Crowd(door)
    await crowd.come(3)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(QueueFullError):
            await crowd.tasks[2]
    assert door.overloaded
    assert [type(one) for one in await crowd.outcomes()] == [type(None), type(None), QueueFullError]


async def test_a_line_that_would_take_too_long_is_full_before_it_is_long() -> None:
    door = admission(most=1, queue_size=1000, max_wait_s=0.2)

    async def work() -> None:
        async with door.admitted():
            await asyncio.sleep(0.02)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(work() for _ in range(20)))  # the pace is not known yet
        outcomes = await asyncio.gather(*(work() for _ in range(500)), return_exceptions=True)
    assert sum(isinstance(one, QueueFullError) for one in outcomes) > 400
    assert door.working == 0


async def test_who_leaves_the_line_or_the_work_gives_the_place_on() -> None:
    door = admission(most=1)
    crowd = Crowd(door)
    await crowd.come(3)
    crowd.tasks[0].cancel()  # at work, or about to be
    crowd.tasks[1].cancel()  # in line
    outcomes = await crowd.outcomes()
    assert [type(one) for one in outcomes] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
    assert (door.working, door.waiting) == (0, 0)


async def test_work_that_fails_gives_its_place_back() -> None:
    door = admission(most=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            async with door.admitted():
                raise ValueError("broken")
    assert door.working == 0


def test_the_limit_falls_when_work_together_is_slower_and_rises_when_it_is_not() -> None:
    limit = Limit(fewest=2, most=10)
    for _ in range(20):
        limit.record(0.010, alone=True)
    start = limit.value
    for _ in range(60):
        limit.reached()
        limit.record(0.011, alone=False)
    assert limit.value > start
    for _ in range(400):
        limit.reached()
        limit.record(0.050, alone=False)
    assert limit.value == 2


async def test_nobody_counts_as_alone_beside_those_who_are_refused() -> None:
    """Else what the limit compares with would be slow itself, and the limit would rise in an overload."""

    class Heard(Limit):
        def record(self, seconds: float, alone: bool) -> None:
            heard.append(alone)

    heard: list[bool] = []
    door = Admission("test", queue_size=0, max_wait_s=5.0, patience_s=5.0, limit=Heard(1, 1))
    async with door.admitted():
        pass
    crowd = Crowd(door)
    await crowd.come(2)
    assert [type(one) for one in await crowd.outcomes()] == [type(None), QueueFullError]
    assert door.overloaded
    async with door.admitted():
        pass
    assert heard == [True, False, False]
