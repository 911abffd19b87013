"""Stop work that nobody waits for: the client left, or its time ran out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexing.errors import DeadlineError
from serving.context import note, request_id
from serving.errors import error_response

logger = logging.getLogger(__name__)

_Ending = Literal["done", "left", "late"]


@dataclass(slots=True)
class _Answer:
    """How far the answer has come."""

    started: bool = False
    finished: bool = False


class CancellationMiddleware:
    """Run the app in a task that ends with its client or its deadline.

    ``receive`` is read ahead of the app by at most two messages: far enough to
    see a disconnect while the app computes, not so far that an upload piles up
    in memory.  The deadline covers the time to the first byte of the answer;
    routes in ``others``, by (method, path), have one of their own, or None:
    uploads watch their own clock.
    """

    def __init__(
        self, app: ASGIApp, deadline_s: float, others: Mapping[tuple[str, str], float | None]
    ) -> None:
        self._app = app
        self._deadline_s = deadline_s
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ahead: asyncio.Queue[Message] = asyncio.Queue(maxsize=2)
        answer = _Answer()

        async def send_and_mark(message: Message) -> None:
            answer.started = True
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answer.finished = True
            await send(message)

        limit_s = self._others.get((scope["method"], scope["path"]), self._deadline_s)
        # The app is a coroutine by the ASGI contract, which types it as an awaitable.
        work = asyncio.ensure_future(self._app(scope, ahead.get, send_and_mark))
        watch = asyncio.create_task(_watch(receive, ahead))
        try:
            ending = await _first_of(work, watch, answer, limit_s)
        finally:
            await _stop(work, watch)
        if ending == "done":
            work.result()
        elif ending == "left":
            logger.info("client_left id=%s", request_id())
        elif not answer.started:
            note("late", 1)
            error = DeadlineError(f"no answer within {limit_s:g} s")
            await error_response(error)(scope, receive, send)


async def _watch(receive: Receive, ahead: asyncio.Queue[Message]) -> None:
    """Return when the client has left; pass everything on meanwhile."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        await ahead.put(message)


async def _first_of(
    work: asyncio.Future[None], watch: asyncio.Task[None], answer: _Answer, deadline_s: float | None
) -> _Ending:
    """Return what came first: the work's end, the client's departure, the deadline."""
    loop = asyncio.get_running_loop()
    deadline = None if deadline_s is None else loop.time() + deadline_s
    pending: set[asyncio.Future[None]] = {work, watch}
    while True:
        left_s = None if deadline is None or answer.started else max(0.0, deadline - loop.time())
        done, _ = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return "done"
        if watch in done:
            if not answer.finished:
                return "left"
            # A server reports a disconnect after every complete answer: what
            # the app still has to tidy up is not to be interrupted.
            pending = {work}
        elif not answer.started:
            return "late"


async def _stop(*tasks: asyncio.Future[None]) -> None:
    """Cancel what still runs and wait until it has ended."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in running:
        if not task.cancelled() and task.exception() is not None:
            logger.debug("ended_with_error_while_stopping", exc_info=task.exception())
