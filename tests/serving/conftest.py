"""One event loop per test, and a service of fakes behind the real app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.qdrant_live import Live, serving
from tests.fakes.service import Harness, client_of, make_harness


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


@pytest.fixture(scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Live]:
    """The Qdrant API on a socket; a module that asks for it makes ``anyio_backend`` its own as well."""
    async with serving(tmp_path_factory.mktemp("qdrant")) as made:
        yield made
