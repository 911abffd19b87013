"""One connection to the engine process: requests in flight, matched by id."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

from indexing.collection import wire
from indexing.errors import CollectionError, CollectionUnavailableError, ConnectionLostError, WireError


class Connection:
    """Sends requests over one socket; any number may be in flight.

    Every waiter ends: with its answer, with the engine's error, or with
    ConnectionLostError when the socket closes first.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._failure: CollectionError | None = None
        self._pump = asyncio.create_task(self._receive(), name="engine-connection")

    @classmethod
    async def open(cls, address: str) -> Connection:
        reader, writer = await asyncio.open_unix_connection(address, limit=2**20)
        return cls(reader, writer)

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
            self._writer.write(packed)
            await self._writer.drain()
            return await future
        except ConnectionError as error:
            # The pump may not have seen the end yet: a second attempt must not find this one alive.
            lost = ConnectionLostError(f"the engine process went away: {error}")
            self._end(lost)
            raise lost from error
        finally:
            self._waiting.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # seen, so that a lost one is not reported at collection

    async def _receive(self) -> None:
        failure: CollectionError = ConnectionLostError("the engine process went away")
        try:
            while (body := await wire.read_frame(self._reader)) is not None:
                number, error, result = body
                if number == 0:
                    failure = CollectionError(wire.error_from_wire(error).args[0])
                    break
                future = self._waiting.pop(number, None)
                if future is None or future.done():
                    continue  # its caller gave up waiting
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(wire.error_from_wire(error))
        except (OSError, WireError) as error:
            failure = ConnectionLostError(f"the engine process went away: {error}")
        finally:
            self._end(failure)

    def _end(self, failure: CollectionError) -> None:
        """Close the socket and let every waiter know."""
        if self._failure is None:
            self._failure = failure
        self._writer.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(failure)

    async def close(self) -> None:
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        # A task cancelled before its first step runs no ``finally``.
        self._end(CollectionUnavailableError("the connection to the engine process was closed"))
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
