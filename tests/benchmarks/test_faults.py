"""The fault table's important rows, and the proxy that makes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from benchmarks.faults.asking import Outcome
from benchmarks.faults.parts import engine_faults, reranker_faults
from benchmarks.faults.proxy import fault_proxy
from indexing.errors import CollectionUnavailableError
from serving.errors import error_response

pytestmark = pytest.mark.anyio
BODY = b"x" * 1000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def plain_server() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + BODY)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_proxy_passes_and_has_each_of_its_faults() -> None:
    async with plain_server() as port, fault_proxy(port) as proxy:

        async def ask(mode: str) -> str:
            patience_s = 30.0 if mode in ("pass", "late", "garble-body") else 0.5
            try:
                async with httpx.AsyncClient(timeout=patience_s, trust_env=False) as client:
                    answer = await client.get(f"http://127.0.0.1:{proxy.port}/")
            except httpx.HTTPError as error:
                return type(error).__name__
            return "as it was" if answer.content == BODY else "other bytes"

        seen = {}
        for mode in ("pass", "refuse", "drop", "silent", "garble", "garble-body", "cut", "drip", "late"):
            await proxy.set(mode, 0.1)
            seen[mode] = await ask(mode)
        assert seen["pass"] == seen["late"] == "as it was"
        assert seen["garble-body"] == "other bytes"
        assert seen["silent"] == seen["drip"] == "ReadTimeout"
        for mode in ("refuse", "drop", "garble", "cut"):
            assert seen[mode] not in ("as it was", "other bytes"), (mode, seen)
        with pytest.raises(ValueError, match="no fault"):
            await proxy.set("other")


def _by_fault(outcomes: list[Outcome]) -> dict[str, Outcome]:
    wrong = [one for one in outcomes if not one.as_it_should_be]
    assert not wrong, wrong
    return {one.fault: one for one in outcomes}


async def test_a_reranker_that_fails_costs_the_order_and_nothing_else() -> None:
    seen = _by_fault(await reranker_faults())
    for fault in ("raises", "nan", "too few", "nothing", "hangs", "still hangs"):
        assert seen[fault].status == 200
        assert seen[fault].degraded[0].startswith("rerank: ")
        assert "reranker" in seen[fault].counted
    assert seen["none again"].degraded == ()


async def test_an_engine_that_stands_still_is_a_timed_503_and_a_killed_one_is_not_noticed() -> None:
    seen = _by_fault(await engine_faults())
    assert (seen["stopped (SIGSTOP)"].status, seen["stopped (SIGSTOP)"].kind) == (
        503,
        "collection-unavailable",
    )
    assert seen["stopped (SIGSTOP)"].retry_after
    assert seen["killed (SIGKILL)"].status == 200


def test_every_503_says_when_to_come_again() -> None:
    assert error_response(CollectionUnavailableError("away")).headers["retry-after"] == "1"
