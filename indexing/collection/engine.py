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
from pathlib import Path
from typing import Any

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
        self._clients: set[asyncio.StreamWriter] = set()
        self._deserted_at = time.monotonic() + max(0.0, _FIRST_CLIENT_S - idle_exit_s)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, layout: Layout) -> None:
        """Serve until stopped or deserted; the host is closed by the caller."""
        listener, path = listen(layout)
        server = await asyncio.start_unix_server(self._client, sock=listener, limit=2**20)
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
        for writer in self._clients:
            writer.close()
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

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        running: set[asyncio.Task[None]] = set()
        slots = asyncio.Semaphore(_IN_FLIGHT)
        try:
            while (body := await wire.read_frame(reader)) is not None:
                request_id, name, arguments = body
                if name in WRITES or name in ("optimize", "copy"):
                    await slots.acquire()
                    task = asyncio.create_task(self._later(writer, slots, request_id, name, arguments))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    writer.write(self._answer(request_id, name, arguments))
                    await writer.drain()
                await asyncio.sleep(0)  # buffered requests of one client must not starve the others
        except (WireError, ValueError, TypeError) as error:
            logger.warning("a client was cut off: %s", error)
            writer.write(wire.frame([0, wire.error_to_wire(CollectionError(str(error))), None]))
        except ConnectionError:
            logger.debug("a client left in the middle of an answer")
        finally:
            # Writes in progress are finished: half of them may be applied already.
            await asyncio.gather(*running, return_exceptions=True)
            writer.close()
            self._clients.discard(writer)
            self._deserted_at = time.monotonic()

    async def _later(
        self,
        writer: asyncio.StreamWriter,
        slots: asyncio.Semaphore,
        request_id: int,
        name: str,
        arguments: Any,
    ) -> None:
        try:
            try:
                reply = wire.frame([request_id, None, await self._write(name, arguments)])
            except WinnowError as error:
                reply = wire.frame([request_id, wire.error_to_wire(error), None])
            except Exception as error:
                logger.exception("request %s failed", name)
                reply = wire.frame([request_id, wire.error_to_wire(CollectionError(repr(error))), None])
            if not writer.is_closing():
                writer.write(reply)
                await writer.drain()
        except ConnectionError:
            logger.debug("a client left before its answer")
        finally:
            slots.release()

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

    def _answer(self, request_id: int, name: str, arguments: Any) -> bytes:
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
