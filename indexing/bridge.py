"""The one bridge from synchronous code to the asynchronous collection.

Ingest and the command lines are synchronous (they are bound by the encoder);
the collection is asynchronous (the service waits on it).  A :class:`Bridge`
runs one event loop in one thread, by anyio's blocking portal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from anyio.from_thread import start_blocking_portal

from indexing.closing import Closing

P = ParamSpec("P")
T = TypeVar("T")


class Bridge(Closing):
    """Call coroutines from a thread: ``bridge(collection.count, tenant="t")``."""

    def __init__(self) -> None:
        self._context = start_blocking_portal("asyncio")
        self._portal = self._context.__enter__()

    def __call__(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async def call() -> T:
            return await function(*args, **kwargs)

        return self._portal.call(call)

    def start(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin a call and return its future; cancelling the future cancels the call."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._portal.start_task_soon(call)

    def iterate(self, factory: Callable[..., AsyncIterator[T]], *args: Any, **kwargs: Any) -> Iterator[T]:
        """Walk an asynchronous iterator one item at a time."""

        async def start() -> AsyncIterator[T]:
            return factory(*args, **kwargs)

        iterator = self._portal.call(start)

        async def step() -> tuple[bool, T | None]:
            try:
                return True, await iterator.__anext__()
            except StopAsyncIteration:
                return False, None

        while True:
            found, item = self._portal.call(step)
            if not found:
                return
            yield item  # type: ignore[misc]

    def close(self) -> None:
        self._context.__exit__(None, None, None)
