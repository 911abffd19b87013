"""The app behind real sockets, its parts the fakes of :mod:`tests.fakes.service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from serving.app import create_app
from serving.server import Server, uvicorn_config
from tests.fakes.listening import Listening, listening
from tests.fakes.service import Harness, make_harness

PATIENCE_S = 60.0


class Live:
    """A running server on a free port, and its fakes."""

    def __init__(self, server: Server, harness: Harness, there: Listening) -> None:
        self.server = server
        self.harness = harness
        self.running = there.running
        self.port = there.port
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=PATIENCE_S,
            limits=httpx.Limits(max_connections=None),
        )

    async def search(self, query: str = "file") -> httpx.Response:
        return await self.client.post("/v1/search", json={"query": query})


@asynccontextmanager
async def live(home: Path, *, delay_s: float = 0.0, **serving: object) -> AsyncIterator[Live]:
    harness = await make_harness(home, delay_s=delay_s, port=0, **serving)
    server = Server(uvicorn_config(harness.settings, create_app(harness.settings, harness.service)))
    try:
        async with listening(server) as there:
            made = Live(server, harness, there)
            try:
                yield made
            finally:
                harness.encoder.gate.set()
                await made.client.aclose()
    finally:
        await harness.close()
