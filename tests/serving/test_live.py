"""The app behind real sockets: load, a full queue, clients that leave, deadlines, shutdown."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from tests.fakes.live import PATIENCE_S, live

pytestmark = pytest.mark.anyio


async def until(condition: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_two_hundred_searches_share_batches_and_none_is_lost(tmp_path: Path) -> None:
    async with live(tmp_path, delay_s=0.005) as service:
        healthy = 0
        searches = asyncio.gather(*(service.search(f"file {number}") for number in range(200)))
        while not searches.done():
            assert (await service.client.get("/health")).status_code == 200
            healthy += 1
        answers = await searches
        assert [answer.status_code for answer in answers] == [200] * 200
        assert all(answer.json()["results"][0]["doc_id"] == "files" for answer in answers)
        sizes = [len(batch) for batch in service.harness.encoder.batches]
        assert sum(sizes) == 200
        assert max(sizes) > 1
        assert healthy >= 2


async def test_a_full_queue_answers_429_and_recovers(tmp_path: Path) -> None:
    async with live(tmp_path, queue_size=3, batch_size=1) as service:
        service.harness.encoder.gate.clear()
        first = asyncio.create_task(service.search())
        await until(lambda: service.harness.encoder.batches)
        waiting = [asyncio.create_task(service.search()) for _ in range(3)]
        await until(lambda: service.harness.worker.waiting == 3)
        refused = await service.search()
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["type"] == "queue-full"
        ready = (await service.client.get("/ready")).json()
        assert (ready["ready"], ready["checks"][-1]["detail"]) == (True, "busy")
        service.harness.encoder.gate.set()
        answers = await asyncio.gather(first, *waiting)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert (await service.search()).status_code == 200


async def test_a_client_that_leaves_takes_its_work_along(tmp_path: Path) -> None:
    async with live(tmp_path, batch_size=1) as service:
        harness = service.harness
        harness.encoder.gate.clear()
        first = asyncio.create_task(service.search("held"))
        await until(lambda: harness.encoder.batches)
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        body = json.dumps({"query": "abandoned"}).encode()
        head = "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: harness.worker.waiting == 1)
        writer.close()
        await until(lambda: harness.searcher.cancelled == 1)
        harness.encoder.gate.set()
        assert (await first).status_code == 200
        assert (await service.search("last")).status_code == 200
        assert harness.encoder.batches == [["held"], ["last"]]
        metrics = (await service.client.get("/metrics")).text
        assert 'winnow_requests_total{method="POST",route="/v1/search",status="499"} 1.0' in metrics


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        part = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n' + b"x" * 1000
        writer.write(
            b"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + part
        )
        await until(lambda: list(tmp_path.rglob("a.txt")))
        writer.close()
        await until(lambda: not list((tmp_path / "uploads").iterdir()))
        assert service.harness.catalog.job_rows == {}


async def test_the_deadline_frees_the_place_in_line(tmp_path: Path) -> None:
    async with live(tmp_path, deadline_s=0.2, batch_size=1) as service:
        harness = service.harness
        harness.encoder.gate.clear()
        answers = await asyncio.gather(service.search("one"), service.search("two"))
        assert [answer.status_code for answer in answers] == [504, 504]
        assert answers[0].json()["type"] == "deadline"
        harness.encoder.gate.set()
        assert (await service.search("three")).status_code == 200
        assert len(harness.encoder.batches) == 2
        assert harness.encoder.batches[-1] == ["three"]


async def test_shutdown_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        service.harness.encoder.gate.clear()
        asked = asyncio.create_task(service.search())
        await until(lambda: service.harness.encoder.batches)
        service.server.should_exit = True
        await until(lambda: not service.server.servers[0].is_serving())
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"http://127.0.0.1:{service.port}/health")
        service.harness.encoder.gate.set()
        assert (await asked).status_code == 200
        await asyncio.wait_for(service.running, PATIENCE_S)


async def test_shutdown_does_not_wait_longer_than_its_grace(tmp_path: Path) -> None:
    async with live(tmp_path, shutdown_grace_s=1) as service:
        service.harness.encoder.gate.clear()
        asked = asyncio.create_task(service.search())
        await until(lambda: service.harness.encoder.batches)
        service.server.should_exit = True
        await asyncio.wait_for(service.running, PATIENCE_S)
        outcome = (await asyncio.gather(asked, return_exceptions=True))[0]
        assert isinstance(outcome, httpx.TransportError) or outcome.status_code >= 500


async def test_an_upload_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        stop = asyncio.Event()
        lags: list[float] = []

        async def watch() -> None:
            while not stop.is_set():
                began = time.perf_counter()
                await asyncio.sleep(0.005)
                lags.append(time.perf_counter() - began)

        watching = asyncio.create_task(watch())
        data = b"y" * 20_000_000
        answer = await service.client.post("/v1/documents", files={"files": ("big.txt", data)})
        stop.set()
        await watching
        assert answer.status_code == 202
        (stored,) = (tmp_path / "uploads").rglob("big.txt")
        assert stored.stat().st_size == len(data)
        assert len(lags) > 3
