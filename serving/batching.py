"""One bounded model worker: requests wait in line, the model sees batches.

The event loop owns the line; one thread owns the model (encoders are not
thread-safe and hold the cores anyway).  While the model works on one batch the
next one gathers, so a batch grows with the load and a lone request never waits
for company.

Every accepted item ends in exactly one of: a result, an exception, or a
cancellation by its waiter.  A cancelled or expired item is dropped before the
model sees it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from indexing.errors import CapacityError, DeadlineError, EncoderError, QueueFullError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Item(Generic[T, R]):
    value: T
    future: asyncio.Future[R]
    expires_at: float | None
    queued_at: float


@dataclass(frozen=True, slots=True)
class _Call(Generic[T, R]):
    values: list[T]
    done: asyncio.Future[Sequence[R]]


class BatchWorker(Generic[T, R]):
    """Run ``function`` over batches gathered from concurrent ``submit`` calls.

    Args:
        name: names the thread, the log lines and the metrics.
        function: ``(n,)`` values to ``n`` results, in order; called in one
            thread only, with 1 to ``max_batch`` values.
        max_batch: most values in one call.
        max_waiting: most values in line, those in the model not counted.
        observe: called on the event loop after each call with the batch's
            size, its seconds in the model, and the longest wait in line.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[list[T]], Sequence[R]],
        *,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int, float, float], None] | None = None,
    ) -> None:
        self.name = name
        self._function = function
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._line: deque[_Item[T, R]] = deque()
        self._in_model: list[_Item[T, R]] = []
        self._arrived = asyncio.Event()
        self._calls: queue.SimpleQueue[_Call[T, R] | None] = queue.SimpleQueue()
        self._closing = False
        self._seconds_per_item = 0.01
        self._task: asyncio.Task[None] | None = None
        # A daemon: a model stuck in native code must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"winnow-{name}", daemon=True)

    @property
    def waiting(self) -> int:
        """Values in line now."""
        return len(self._line)

    @property
    def capacity(self) -> int:
        """Values that may wait in line."""
        return self._max_waiting

    def start(self) -> None:
        """Start the thread and the gathering task; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._task = asyncio.create_task(self._gather(), name=f"winnow-{self.name}")
        self._task.add_done_callback(self._gathering_ended)

    async def submit(self, value: T, *, timeout_s: float | None = None) -> R:
        """Return the model's result for ``value``.

        Raises:
            QueueFullError: the line is full; ``retry_after_s`` says when it
                will have moved on.
            DeadlineError: ``timeout_s`` passed before the model took it.
            CapacityError: the worker is shutting down.
            Exception: whatever the model raised for the batch.
        """
        if self._closing or self._task is None:
            raise CapacityError(f"the {self.name} worker is shutting down")
        if len(self._line) >= self._max_waiting:
            self._forget_cancelled()
        if len(self._line) >= self._max_waiting:
            raise QueueFullError(
                f"{len(self._line)} requests already wait for the {self.name} worker",
                retry_after_s=max(1.0, len(self._line) * self._seconds_per_item),
            )
        now = time.monotonic()
        expires_at = None if timeout_s is None else now + timeout_s
        item = _Item[T, R](value, asyncio.get_running_loop().create_future(), expires_at, now)
        self._line.append(item)
        self._arrived.set()
        return await item.future

    async def close(self, grace_s: float) -> None:
        """Finish what is in line for at most ``grace_s``, then fail the rest."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            _, unfinished = await asyncio.wait([self._task], timeout=grace_s)
            if unfinished:
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1.0)
        self._fail_everyone(CapacityError(f"the {self.name} worker has stopped"))
        self._calls.put(None)

    def _forget_cancelled(self) -> None:
        self._line = deque(item for item in self._line if not item.future.done())

    def _next_batch(self) -> list[_Item[T, R]]:
        batch: list[_Item[T, R]] = []
        now = time.monotonic()
        while self._line and len(batch) < self._max_batch:
            item = self._line.popleft()
            if item.future.done():
                continue
            if item.expires_at is not None and item.expires_at <= now:
                waited = now - item.queued_at
                item.future.set_exception(
                    DeadlineError(f"waited {waited:.1f} s for the {self.name} worker, longer than asked")
                )
                continue
            batch.append(item)
        return batch

    async def _gather(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                await self._run(batch)
            elif self._closing:
                return
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _run(self, batch: list[_Item[T, R]]) -> None:
        self._in_model = batch
        started = time.monotonic()
        done: asyncio.Future[Sequence[R]] = self._loop.create_future()
        self._calls.put(_Call([item.value for item in batch], done))
        try:
            results = await done
            if len(results) != len(batch):
                raise EncoderError(
                    f"the {self.name} model returned {len(results)} results for {len(batch)} texts"
                )
        except Exception as error:
            logger.warning(
                "batch_failed worker=%s size=%d type=%s", self.name, len(batch), type(error).__name__
            )
            for item in batch:
                if not item.future.done():
                    item.future.set_exception(error)
        else:
            for item, result in zip(batch, results, strict=True):
                if not item.future.done():
                    item.future.set_result(result)
        self._in_model = []
        self._record(batch, started)

    def _record(self, batch: list[_Item[T, R]], started: float) -> None:
        seconds = time.monotonic() - started
        self._seconds_per_item += 0.2 * (seconds / len(batch) - self._seconds_per_item)
        if self._observe is not None:
            self._observe(len(batch), seconds, started - min(item.queued_at for item in batch))

    def _gathering_ended(self, task: asyncio.Task[None]) -> None:
        """Whatever ended the task, nobody may wait for it any more."""
        self._closing = True
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("worker_died worker=%s", self.name, exc_info=error)
        self._fail_everyone(CapacityError(f"the {self.name} worker has stopped"))

    def _fail_everyone(self, error: CapacityError) -> None:
        for item in (*self._in_model, *self._line):
            if not item.future.done():
                item.future.set_exception(error)
        self._in_model = []
        self._line.clear()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                results = self._function(call.values)
            except BaseException as error:
                self._answer(call.done, None, _as_exception(error, self.name))
            else:
                self._answer(call.done, results, None)

    def _answer(
        self,
        done: asyncio.Future[Sequence[R]],
        results: Sequence[R] | None,
        error: Exception | None,
    ) -> None:
        def settle() -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            elif results is None:
                done.set_exception(EncoderError(f"the {self.name} model returned nothing"))
            else:
                done.set_result(results)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            # The loop closed while the model was working: nobody waits any more.
            logger.debug("late_result worker=%s", self.name)


def _as_exception(error: BaseException, name: str) -> Exception:
    """Return an exception that a future accepts (it refuses StopIteration)."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = EncoderError(f"the {name} model failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
