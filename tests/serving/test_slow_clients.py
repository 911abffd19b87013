"""Clients that trickle, never read, or come in too great a number, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.fakes.live import live

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
HEAD = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b"reset"


@pytest.mark.parametrize(
    "sent", [b"", b"GET /heal", HEAD, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET"]
)
async def test_a_head_that_does_not_end_closes_the_connection(tmp_path: Path, sent: bytes) -> None:
    async with live(tmp_path, read_timeout_s=0.2) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(sent)
        answer = await read_to_the_end(reader)
        writer.close()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
        assert (await service.search()).status_code == 200


async def test_a_trickled_head_is_closed_while_it_trickles(tmp_path: Path) -> None:
    async with live(tmp_path, read_timeout_s=0.3) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(HEAD)
        ended = asyncio.create_task(read_to_the_end(reader))
        while not ended.done():
            writer.write(b"X-Slow: 1\r\n")
            await asyncio.sleep(0.05)
        assert await ended in (b"", b"reset")
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 1000\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n",
    ],
)
async def test_a_trickled_body_is_answered_408_and_closed(tmp_path: Path, head: bytes) -> None:
    async with live(tmp_path, read_timeout_s=0.3, deadline_s=PATIENCE_S) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head)
        ended = asyncio.create_task(read_to_the_end(reader))
        while not ended.done():
            writer.write(b"1\r\nx\r\n" if b"chunked" in head else b"x")
            await asyncio.sleep(0.05)
        answer = await ended
        assert answer == b"reset" or (answer.startswith(b"HTTP/1.1 408") and b"upload-stalled" in answer)
        writer.close()
        metrics = (await service.client.get("/metrics")).text
        assert 'status="408"' in metrics


async def test_a_slow_body_that_keeps_the_least_rate_is_taken(tmp_path: Path) -> None:
    async with live(tmp_path, read_timeout_s=0.5, min_bytes_per_s=10.0, deadline_s=PATIENCE_S) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        body = b'{"query": "file"}' + b" " * 23
        writer.write(HEAD + b"Content-Length: 40\r\nConnection: close\r\n\r\n")
        for start in range(0, 40, 5):
            writer.write(body[start : start + 5])
            await asyncio.sleep(0.1)
        assert (await read_to_the_end(reader)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_client_that_never_reads_is_cut(tmp_path: Path) -> None:
    async with live(tmp_path, write_timeout_s=0.3, read_timeout_s=PATIENCE_S) as service:
        service.harness.catalog.texts["long"] = "A" + "b" * 6_000_000 + "."
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(one, ("127.0.0.1", service.port))
        await loop.sock_sendall(one, b"GET /v1/documents/long/text HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2)
        async with asyncio.timeout(PATIENCE_S):
            while one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:  # established
                await asyncio.sleep(0.05)
        one.close()
        assert (await service.search()).status_code == 200


async def test_one_connection_too_many_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with live(tmp_path, max_connections=2) as service:
        idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(2)]
        refused = await service.search()
        assert (refused.status_code, refused.json()["type"]) == (503, "capacity")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["connection"] == "close"
        assert (await service.client.get("/health")).status_code == 200
        for _, writer in idle:
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while (await service.search()).status_code != 200:
                await asyncio.sleep(0.02)
        assert 'winnow_refused_total{line="connections"} ' in (await service.client.get("/metrics")).text


async def test_a_head_without_an_end_is_not_collected(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        ended = asyncio.create_task(read_to_the_end(reader))
        for _ in range(200):
            if ended.done():
                break
            writer.write(b"x" * 4096)
            await asyncio.sleep(0.005)
        answer = await ended
        assert answer == b"reset" or answer.startswith(b"HTTP/1.1 431")
        writer.close()


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"query":"a","filter":' + b'{"a":' * 40_000])
async def test_deep_json_is_malformed_and_no_crash(tmp_path: Path, deep: bytes) -> None:
    async with live(tmp_path, max_query_kb=1000) as service:
        for path in ("/v1/search", "/v1/documents"):
            headers = {"content-type": "application/json"}
            answer = await service.client.post(path, content=deep, headers=headers)
            assert answer.status_code in (400, 422), answer.text
