"""One connection to the engine process: requests in flight, matched by id."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

from indexing.collection import wire
from indexing.errors import CollectionError, CollectionUnavailableError, ConnectionLostError, WireError


class Connection(asyncio.Protocol):
    """Sends requests over one socket; any number may be in flight.

    Every waiter ends: with its answer, with the engine's error, or with
    ConnectionLostError when the socket closes first.  A protocol and not a
    pair of streams: an answer reaches its waiter without a task in between.
    """

    def __init__(self) -> None:
        self._frames = wire.Frames()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._failure: CollectionError | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()

    @classmethod
    async def open(cls, address: str) -> Connection:
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, address)
        return connection

    @property
    def alive(self) -> bool:
        return self._failure is None

    async def request(self, name: str, arguments: list[Any]) -> Any:
        """The engine's answer.

        Raises:
            WinnowError: what the engine raised, or ConnectionLostError.
        """
        number = next(self._numbers)
        packed = wire.frame([number, name, arguments])
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._transport.write(packed)
            if not self._writable.is_set():
                await self._writable.wait()
            return await future
        finally:
            self._waiting.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # seen, so that a lost one is not reported at collection

    # ── what the event loop calls ─────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._answer(*body)
        except (WireError, TypeError, ValueError) as error:
            self._end(ConnectionLostError(f"the engine process went away: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        why = f": {error}" if error is not None else ""
        if self._frames.partial:
            why = ": the connection ended inside a frame"
        self._end(ConnectionLostError(f"the engine process went away{why}"))
        self._closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _answer(self, number: int, error: Any, result: Any) -> None:
        if number == 0:
            self._end(CollectionError(wire.error_from_wire(error).args[0]))
            return
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return  # its caller gave up waiting
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(wire.error_from_wire(error))

    def _end(self, failure: CollectionError) -> None:
        """Close the socket and let every waiter know."""
        if self._failure is None:
            self._failure = failure
        self._transport.abort()  # nobody waits for what is still to be sent
        self._writable.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(failure)

    async def close(self) -> None:
        self._end(CollectionUnavailableError("the connection to the engine process was closed"))
        await self._closed.wait()
