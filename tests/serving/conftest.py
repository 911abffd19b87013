"""One event loop per test, and a service of fakes behind the real app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serving.app import create_app
from tests.fakes.service import Harness, make_harness


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def harness(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(harness) as made:
        yield made


def client_of(harness: Harness) -> httpx.AsyncClient:
    app = create_app(harness.settings, harness.service)
    # The lifespan does not run under this transport; it would only set this.
    app.state.service = harness.service
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
