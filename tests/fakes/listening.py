"""A server of uvicorn's in the test's own loop, from its first accept to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

PATIENCE_S = 90.0


@dataclass(frozen=True, slots=True)
class Listening:
    port: int
    running: asyncio.Task[None]


@asynccontextmanager
async def listening(server: uvicorn.Server) -> AsyncIterator[Listening]:
    """Run ``server`` until the block ends; it has ended after it."""
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started:
                await asyncio.sleep(0.01)
        yield Listening(server.servers[0].sockets[0].getsockname()[1], running)
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_S)
