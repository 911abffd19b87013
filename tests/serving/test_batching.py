"""The model worker: batches form, nothing is lost, nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from indexing.errors import CapacityError, DeadlineError, EncoderError, QueueFullError
from serving.batching import BatchWorker

pytestmark = pytest.mark.anyio
PATIENCE_S = 10.0


class Doubler:
    """Doubles numbers; holds each call until the gate is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: BaseException | None = None

    def __call__(self, values: list[int]) -> Sequence[int]:
        self.batches.append(list(values))
        self.entered.set()
        self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return [value * 2 for value in values]

    async def has_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_S)
        self.entered.clear()


def worker_on(model: Doubler, *, max_batch: int = 4, max_waiting: int = 100) -> BatchWorker[int, int]:
    worker = BatchWorker[int, int]("test", model, max_batch=max_batch, max_waiting=max_waiting)
    worker.start()
    return worker


async def held(model: Doubler, worker: BatchWorker[int, int]) -> asyncio.Task[int]:
    """Put one value into the model and keep it there."""
    model.gate.clear()
    first = asyncio.create_task(worker.submit(0))
    await model.has_entered()
    return first


async def queued(worker: BatchWorker[int, int], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while worker.waiting < count:
            await asyncio.sleep(0)


async def test_what_arrives_during_a_call_is_the_next_batch_in_order() -> None:
    model = Doubler()
    worker = worker_on(model, max_batch=4)
    first = await held(model, worker)
    others = [asyncio.create_task(worker.submit(value)) for value in range(1, 7)]
    await queued(worker, 6)
    model.gate.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10, 12]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    await worker.close(1.0)


async def test_a_full_line_refuses_and_says_when_to_come_back() -> None:
    model = Doubler()
    worker = worker_on(model, max_waiting=2)
    first = await held(model, worker)
    others = [asyncio.create_task(worker.submit(value)) for value in (1, 2)]
    await queued(worker, 2)
    with pytest.raises(QueueFullError) as caught:
        await worker.submit(3)
    assert caught.value.retry_after_s >= 1.0
    model.gate.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4]
    await worker.close(1.0)


async def test_cancelled_items_leave_their_place_and_never_reach_the_model() -> None:
    model = Doubler()
    worker = worker_on(model, max_waiting=2)
    first = await held(model, worker)
    gone = [asyncio.create_task(worker.submit(value)) for value in (1, 2)]
    await queued(worker, 2)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    kept = asyncio.create_task(worker.submit(3))  # the line was full of the cancelled
    await queued(worker, 1)
    model.gate.set()
    assert await asyncio.gather(first, kept) == [0, 6]
    assert model.batches == [[0], [3]]
    await worker.close(1.0)


async def test_an_expired_item_fails_without_the_model() -> None:
    model = Doubler()
    worker = worker_on(model)
    first = await held(model, worker)
    late = asyncio.create_task(worker.submit(1, timeout_s=0.0))
    await queued(worker, 1)
    model.gate.set()
    with pytest.raises(DeadlineError):
        await late
    assert await first == 0
    assert model.batches == [[0]]
    await worker.close(1.0)


class NativePanic(BaseException):
    """What a panic in native code derives from."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EncoderError("no"), EncoderError),
        (ValueError("no"), ValueError),
        (StopIteration(), EncoderError),
        (NativePanic("no"), EncoderError),
    ],
)
async def test_a_failure_reaches_every_waiter_and_the_worker_lives_on(
    error: BaseException, expected: type[Exception]
) -> None:
    model = Doubler()
    worker = worker_on(model)
    first = await held(model, worker)
    others = [asyncio.create_task(worker.submit(value)) for value in (1, 2, 3)]
    await queued(worker, 3)
    model.error = error
    model.gate.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(one) for one in found] == [expected] * 4
    model.error = None
    assert await worker.submit(5) == 10
    await worker.close(1.0)


async def test_a_wrong_number_of_results_is_an_error_for_all() -> None:
    worker = BatchWorker[int, int]("test", lambda values: values[1:], max_batch=4, max_waiting=4)
    worker.start()
    with pytest.raises(EncoderError, match="0 results for 1"):
        await worker.submit(1)
    await worker.close(1.0)


async def test_close_finishes_the_line_and_refuses_newcomers() -> None:
    model = Doubler()
    worker = worker_on(model, max_batch=1)
    first = await held(model, worker)
    others = [asyncio.create_task(worker.submit(value)) for value in (1, 2)]
    await queued(worker, 2)
    closing = asyncio.create_task(worker.close(PATIENCE_S))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await worker.submit(9)
    model.gate.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4]
    await closing


async def test_close_fails_everyone_when_the_model_is_stuck() -> None:
    model = Doubler()
    worker = worker_on(model)
    first = await held(model, worker)
    other = asyncio.create_task(worker.submit(1))
    await queued(worker, 1)
    async with asyncio.timeout(PATIENCE_S / 2):
        await worker.close(0.01)
        found = await asyncio.gather(first, other, return_exceptions=True)
    assert [type(one) for one in found] == [CapacityError, CapacityError]
    model.gate.set()


async def test_a_dying_gatherer_leaves_no_waiter() -> None:
    def broken(_count: int, _model_s: float, _waited_s: float) -> None:
        raise RuntimeError("a bug of ours")

    model = Doubler()
    worker = BatchWorker[int, int]("test", model, max_batch=1, max_waiting=9, observe=broken)
    worker.start()
    model.gate.clear()
    first = asyncio.create_task(worker.submit(1))
    await model.has_entered()
    second = asyncio.create_task(worker.submit(2))
    await queued(worker, 1)
    model.gate.set()
    async with asyncio.timeout(PATIENCE_S / 2):
        assert await first == 2
        with pytest.raises(CapacityError):
            await second
        with pytest.raises(CapacityError):
            await worker.submit(3)
    await worker.close(0.1)


async def test_the_event_loop_runs_while_the_model_works() -> None:
    def slow(values: list[int]) -> list[int]:
        time.sleep(0.2)
        return values

    worker = BatchWorker[int, int]("test", slow, max_batch=1, max_waiting=1)
    worker.start()
    asked = asyncio.create_task(worker.submit(1))
    turns = 0
    while not asked.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 10  # a blocked loop would have taken one turn
    await worker.close(1.0)
