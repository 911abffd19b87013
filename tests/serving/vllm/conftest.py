"""The real vLLM servers of this suite; ``make test-vllm`` starts them and names them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from indexing.settings import GenerationSettings
from retrieval.generation.client import HttpGenerator, open_generator

# The second one comes under a name of its own: WINNOW_ variables are settings.
REPLICAS = [
    url for url in (os.environ.get("WINNOW_TEST_VLLM_URL"), os.environ.get("VLLM_TEST_SECOND_URL")) if url
]
Opened = Callable[..., AbstractAsyncContextManager[HttpGenerator]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if not REPLICAS:
                item.add_marker(pytest.mark.skip(reason="WINNOW_TEST_VLLM_URL names no server"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url() -> str:
    return REPLICAS[0]


@pytest.fixture
def replicas() -> list[str]:
    if len(REPLICAS) < 2:
        pytest.skip("one server runs; two replicas need 12 GB of free memory")
    return REPLICAS


@pytest.fixture
def opened(tmp_path: Path, url: str) -> Opened:
    """Open a client; its secret is new, so that no other test's prompts are in its cache."""

    @asynccontextmanager
    async def make(**changes: object) -> AsyncIterator[HttpGenerator]:
        # A loaded machine is slow, and slowness is not what is tested here.
        limits = {"first_token_timeout_s": 300.0, "timeout_s": 600.0, "connect_timeout_s": 30.0}
        given = {"url": url, "max_tokens": 8, "salt_secret": uuid.uuid4().hex, **limits, **changes}
        generator = open_generator(GenerationSettings.model_validate(given), tmp_path)
        assert generator is not None
        try:
            yield generator
        finally:
            await generator.aclose()

    return make


class ServerMetrics:
    """What ``/metrics`` of one server says, or of several together."""

    def __init__(self, *urls: str) -> None:
        self._clients = [httpx.Client(base_url=url, timeout=60, trust_env=False) for url in urls]

    def sum(self, name: str) -> float:
        """Return the sum over all series whose name and labels begin so."""
        lines = [line for one in self._clients for line in one.get("/metrics").text.splitlines()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    @property
    def tokens(self) -> float:
        """Tokens made so far."""
        return self.sum("vllm:generation_tokens_total")

    def wait_until_idle(self, within_s: float) -> None:
        """Return when no tokens are made any more.

        The gauge of running requests lags on a busy machine; the count of tokens does not lie.
        """
        began = time.monotonic()
        tokens = -1.0
        while (now := self.tokens) != tokens or self.running:
            assert time.monotonic() - began < within_s, "the request still runs"
            tokens = now
            time.sleep(0.2)

    @property
    def running(self) -> float:
        return self.sum("vllm:num_requests_running")

    @property
    def hits(self) -> float:
        return self.sum("vllm:prefix_cache_hits_total")

    @property
    def queries(self) -> float:
        return self.sum("vllm:prefix_cache_queries_total")


@pytest.fixture
def metrics(url: str) -> ServerMetrics:
    return ServerMetrics(url)


@pytest.fixture
def all_metrics() -> ServerMetrics:
    return ServerMetrics(*REPLICAS)
