"""A TCP proxy with one fault at a time, between the service and what it talks to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_BLOCK = 65_536
FOREVER_S = 3600.0

# Mode: what it does to an answer.
MODES = {
    "pass": "nothing",
    "refuse": "nobody accepts the connection",
    "drop": "the connection ends before an answer",
    "silent": "the request is taken, no answer comes",
    "late": "the answer comes after `delay_s`",
    "garble": "every byte of the answer is another one",
    "garble-body": "the body's bytes are others",
    "cut": "the answer ends half-way",
    "drip": "a byte of the answer every half second",
}


class FaultProxy:
    """Passes bytes from clients to a server on loopback and back, as well as ``mode`` lets it.

    A mode that is set applies to answers from then on, of open connections too.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.mode = "pass"
        self.delay_s = 0.0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def set(self, mode: str, delay_s: float = 0.0) -> None:
        """Change the fault; connections that are open end, so that none keeps an old one.

        Raises:
            ValueError: there is no such mode.
        """
        if mode not in MODES:
            raise ValueError(f"no fault {mode!r}; there are {', '.join(MODES)}")
        self.mode, self.delay_s = mode, delay_s
        for writer in list(self._open):
            writer.transport.abort()
        if mode == "refuse":
            await self._close()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            upstream, there = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_forward(reader, there))
                group.create_task(self._answer(upstream, writer))
        except* (OSError, _Ended):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()
            there.transport.abort()

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await upstream.read(_BLOCK):
            await self._pass_on(data, writer)
        raise _Ended

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        mode = self.mode
        if mode == "drop":
            raise _Ended
        if mode == "silent":
            await asyncio.sleep(FOREVER_S)
        elif mode == "late":
            await asyncio.sleep(self.delay_s)
        elif mode == "garble":
            data = _noise(data)
        elif mode == "garble-body":
            head, gap, body = data.partition(b"\r\n\r\n")
            # The head of an answer comes in a piece of its own, or before the body.
            data = head + gap + _noise(body) if data.startswith(b"HTTP/") else _noise(data)
        elif mode == "cut":
            writer.write(data[: len(data) // 2])
            await writer.drain()
            raise _Ended
        elif mode == "drip":
            for byte in data:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.5)
            return
        writer.write(data)
        await writer.drain()


class _Ended(Exception):  # noqa: N818 - an ending, no error
    """The connection is over."""


def _noise(data: bytes) -> bytes:
    return bytes(byte ^ 0x2A for byte in data)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()
    raise _Ended


@contextlib.asynccontextmanager
async def fault_proxy(port: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy before the server at ``port`` of loopback; it begins without a fault."""
    proxy = FaultProxy(port)
    await proxy.set("pass")
    try:
        yield proxy
    finally:
        await proxy.set("refuse")
