"""The engine process: ``python -m indexing.collection.engine HOME``.

One process owns the shard of one collection folder and answers the service,
ingest and the command lines over a Unix domain socket.  Whoever needs it first
starts it; it leaves some seconds after its last client, with everything
flushed.  A lock file makes sure that there is never a second one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, cast

from indexing.collection import wire
from indexing.collection.address import acquire, listen, withdraw
from indexing.collection.host import Checkpoint, EngineHost, no_checkpoint
from indexing.collection.layout import Layout
from indexing.collection.operations import WRITES
from indexing.errors import CollectionError, InputError, WinnowError, WireError

logger = logging.getLogger(__name__)

_TICK_S = 0.25
_FIRST_CLIENT_S = 15.0
_LOCK_WAIT_S = 30.0
_IN_FLIGHT = 64
_PARTING_TICKS = 500


class EngineServer:
    """Answers requests for one host until nobody is there any more."""

    def __init__(self, host: EngineHost, idle_exit_s: float) -> None:
        self._host = host
        self._idle_exit_s = idle_exit_s
        self._clients: set[Client] = set()
        self._deserted_at = time.monotonic() + max(0.0, _FIRST_CLIENT_S - idle_exit_s)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, layout: Layout) -> None:
        """Serve until stopped or deserted; the host is closed by the caller."""
        listener, path = listen(layout)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(partial(Client, self), sock=listener)
        try:
            while not self._stopping.is_set():
                try:
                    await asyncio.wait_for(self._stopping.wait(), _TICK_S)
                except TimeoutError:
                    self._tick()
        finally:
            withdraw(layout, path)
            server.close()
            await self._part()

    async def _part(self) -> None:
        """Close every connection and let the writes in progress end."""
        for client in list(self._clients):
            client.close()
        for _ in range(_PARTING_TICKS):
            if not self._clients:
                return
            await asyncio.sleep(0.01)

    def _tick(self) -> None:
        try:
            self._host.upkeep()
        except WinnowError:
            logger.exception("upkeep failed")
        idle = time.monotonic() - self._deserted_at
        if not self._clients and not self._host.building and idle >= self._idle_exit_s:
            logger.info("no client for %.1f s: leaving", self._idle_exit_s)
            self.stop()

    def came(self, client: Client) -> None:
        """Note a connection."""
        self._clients.add(client)

    def left(self, client: Client) -> None:
        """Note that a connection has ended, and the writes it asked for."""
        self._clients.discard(client)
        self._deserted_at = time.monotonic()

    async def write(self, request_id: int, name: str, arguments: Any) -> bytes:
        """Carry a write, a build or a copy out and return its answer's frame."""
        try:
            return wire.frame([request_id, None, await self._write(name, arguments)])
        except WinnowError as error:
            return wire.frame([request_id, wire.error_to_wire(error), None])
        except Exception as error:
            logger.exception("request %s failed", name)
            return wire.frame([request_id, wire.error_to_wire(CollectionError(repr(error))), None])

    async def _write(self, name: str, arguments: Any) -> bool | None:
        if name == "copy":
            await self._host.copy(Path(arguments[0]))
            return None
        if name != "optimize":
            await self._host.write(name, arguments)
            return None
        (wait,) = arguments
        started = self._host.start_build()
        if started and wait:
            await self._host.build_finished()
        return started

    def read(self, request_id: int, name: str, arguments: Any) -> bytes:
        """Return the frame that answers a read."""
        try:
            if name == "stop":
                self.stop()
                return wire.frame([request_id, None, os.getpid()])
            return wire.frame([request_id, None, self._host.read(name, arguments)])
        except KeyError:
            error: WinnowError = InputError(f"the engine knows no operation {name!r}")
        except WinnowError as failure:
            error = failure
        except Exception as failure:
            logger.exception("request %s failed", name)
            error = CollectionError(repr(failure))
        return wire.frame([request_id, wire.error_to_wire(error), None])


class Client(asyncio.Protocol):
    """One connection: its requests in the order they came, one a turn of the event loop.

    Reads are answered at once.  Writes run as tasks, so many at a time; who
    sends more, or does not take its answers, is not read from meanwhile.
    Writes in progress are finished when their client has gone: half of them may
    be applied already.
    """

    def __init__(self, server: EngineServer) -> None:
        self._server = server
        self._frames = wire.Frames()
        self._requests: deque[Any] = deque()
        self._writes: set[asyncio.Task[bytes]] = set()
        self._full = self._ended = self._scheduled = False
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Take no further request, and end once the writes in progress have."""
        self._requests.clear()
        self._ended = True
        self._transport.close()

    # ── what the event loop calls ─────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._server.came(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._requests.extend(self._frames.feed(data))
        except WireError as error:
            self._cut_off(error)
        if not self._scheduled:
            self._next()

    def eof_received(self) -> bool:
        if self._frames.partial:
            self._cut_off(WireError("the connection ended inside a frame"))
        self._ended = True
        self._end_if_done()
        return True  # answers may still be on their way

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            logger.debug("a client left in the middle of an answer: %s", error)
        self._requests.clear()
        self._ended = True
        self._end_if_done()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()

    # ── requests ──────────────────────────────────────────────────────────

    def _next(self) -> None:
        """Take one request; buffered ones of one client must not starve the others."""
        self._scheduled = False
        if self._requests and not self._full and len(self._writes) < _IN_FLIGHT:
            try:
                request_id, name, arguments = self._requests.popleft()
                self._take(request_id, name, arguments)
            except (ValueError, TypeError) as error:
                self._cut_off(error)
        self._go_on()

    def _go_on(self) -> None:
        waiting = self._full or len(self._writes) >= _IN_FLIGHT
        if self._requests and not waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)
        if not self._transport.is_closing():
            if waiting or len(self._requests) >= _IN_FLIGHT:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        self._end_if_done()

    def _take(self, request_id: int, name: str, arguments: Any) -> None:
        if name in WRITES or name in ("optimize", "copy"):
            task = self._loop.create_task(self._server.write(request_id, name, arguments))
            self._writes.add(task)
            task.add_done_callback(self._written)
        else:
            self._send(self._server.read(request_id, name, arguments))

    def _written(self, task: asyncio.Task[bytes]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and task.exception() is None:
            self._send(task.result())
        self._go_on()

    def _send(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)

    def _cut_off(self, error: Exception) -> None:
        logger.warning("a client was cut off: %s", error)
        self._send(wire.frame([0, wire.error_to_wire(CollectionError(str(error))), None]))
        self.close()

    def _end_if_done(self) -> None:
        if self._ended and not self._requests and not self._writes:
            self._transport.close()
            self._server.left(self)


async def serve(
    folder: Path, *, idle_exit_s: float, optimize_after: int, checkpoint: Checkpoint = no_checkpoint
) -> None:
    """Own the collection in ``folder`` until nobody needs it, or another process does."""
    layout = Layout(folder)
    lock = acquire(layout, _LOCK_WAIT_S)
    if lock is None:
        logger.info("another engine process owns %s", folder)
        return
    try:
        host = EngineHost(layout, optimize_after, checkpoint)
        host.open()
        server = EngineServer(host, idle_exit_s)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        try:
            await server.run(layout)
        finally:
            await host.close()
    finally:
        os.close(lock)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m indexing.collection.engine", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle-exit-s", type=float, default=10.0)
    parser.add_argument("--optimize-after", type=int, default=20_000)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    asyncio.run(serve(chosen.folder, idle_exit_s=chosen.idle_exit_s, optimize_after=chosen.optimize_after))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
