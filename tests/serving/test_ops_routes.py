"""Health, readiness, metrics, collection, docs, headers."""

from __future__ import annotations

import re
from http import HTTPStatus

import httpx
import numpy as np
import pytest

import serving.errors as service_errors
from indexing.errors import CollectionUnavailableError, WinnowError
from indexing.records import Embedding, SparseVector
from tests.fakes.service import DOCUMENTS, Harness

pytestmark = pytest.mark.anyio

# What the service never imports; other tests of the same run may have.  The
# engine's own errors stay in its process.
OTHERS = ("tests.", "distill.", "benchmarks.", "serving.vllm.", "indexing.collection.edge")


def family(kind: type[WinnowError]) -> list[type[WinnowError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in family(child))]


def test_every_error_has_its_own_status() -> None:
    kinds = {kind for kind in family(WinnowError) if not kind.__module__.startswith(OTHERS)}
    assert kinds - set(service_errors.STATUS) == set()
    assert set(service_errors.STATUS) - kinds == set()


def test_an_error_that_waiting_helps_says_how_long() -> None:
    error = service_errors.winnow.QueueFullError("full", retry_after_s=2.3)
    answer = service_errors.error_response(error)
    assert (answer.status_code, answer.headers["retry-after"]) == (HTTPStatus.TOO_MANY_REQUESTS, "3")


async def test_health_asks_nothing(client: httpx.AsyncClient, harness: Harness) -> None:
    harness.collection.error = CollectionUnavailableError("gone")
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_ready_names_the_part_that_does_not_answer(client: httpx.AsyncClient, harness: Harness) -> None:
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    harness.collection.error = CollectionUnavailableError("the engine is gone")
    harness.service.readiness._last = None
    answer = await client.get("/ready")
    assert answer.status_code == 503
    broken = [check for check in answer.json()["checks"] if not check["ok"]]
    assert broken == [{"name": "collection", "ok": False, "detail": "the engine is gone", "required": True}]


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (Embedding(np.zeros(4, dtype=np.float32), SparseVector((1,), (1.0,))), "unit vectors"),
        (Embedding(np.full(4, np.nan, dtype=np.float32), SparseVector((1,), (1.0,))), "unit vectors"),
        (Embedding(np.full(4, 0.5, dtype=np.float32), SparseVector((1,), (1.0,))), "unrelated"),
        (Embedding(None, SparseVector((), ())), "no term"),
    ],
)
async def test_ready_sees_a_model_that_returns_noise(
    client: httpx.AsyncClient, harness: Harness, fake: Embedding, reason: str
) -> None:
    harness.encoder.embed = lambda _text: fake  # type: ignore[method-assign]
    answer = await client.get("/ready")
    assert answer.status_code == 503
    (encoder,) = [check for check in answer.json()["checks"] if check["name"] == "encoder"]
    assert reason in encoder["detail"]


async def test_metrics_count_by_route_template(client: httpx.AsyncClient, harness: Harness) -> None:
    harness.catalog.create_job("default", "upload", {})
    await client.get("/v1/documents/files")
    await client.get("/v1/documents/nothing")
    await client.get("/no/such/page")
    await client.post("/v1/search", json={"query": "file"})
    text = (await client.get("/metrics")).text
    route = 'route="/v1/documents/{doc_id}"'
    assert f'winnow_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'winnow_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'winnow_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'winnow_stage_seconds_count{stage="embed"} 1.0' in text
    assert 'winnow_batch_texts_sum{worker="encode"} 1.0' in text
    assert 'winnow_jobs{state="queued"} 1.0' in text
    assert f"winnow_documents {float(len(DOCUMENTS))}" in text
    assert "files" not in re.sub(r"# .*", "", text)


async def test_metrics_survive_a_dead_collection(client: httpx.AsyncClient, harness: Harness) -> None:
    harness.collection.error = CollectionUnavailableError("gone")
    text = (await client.get("/metrics")).text
    assert 'winnow_scrape_failures_total{part="collection"} 1.0' in text


async def test_collection_says_what_it_holds(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/collection", params={"facet_limit": 2})).json()
    assert (found["documents"], found["home"]) == (len(DOCUMENTS), "memory")
    assert found["encoders"]["dense"] == "hash"
    assert found["defaults"]["top_n"] == 10
    assert found["sections"] == [
        {"value": "section 100%", "count": 2},
        {"value": "section a/b c?.txt", "count": 2},
    ]


async def test_the_openapi_document_is_complete(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert {
        "/v1/search",
        "/v1/query",
        "/v1/documents",
        "/v1/documents/{doc_id}",
        "/v1/documents/{doc_id}/text",
        "/v1/jobs/{job_id}",
        "/health",
        "/ready",
        "/metrics",
    } <= set(schema["paths"])
    assert "NewDocuments" in schema["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', (await client.get("/openapi.json")).text))
    assert references <= set(schema["components"]["schemas"])
    assert schema["components"]["schemas"]["SearchBody"]["examples"][0]["query"]


async def test_docs_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    files = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(files) >= 4
    for file in files:
        assert "//" not in file
        answer = await client.get(f"/{file}")
        assert answer.status_code == 200, file
        assert "//cdn" not in answer.text[:2000]
    assert "<script>" not in html


async def test_headers_of_every_answer(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/v1/documents/nothing", "/nowhere", "/docs"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self';" in headers["content-security-policy"]
        assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
        assert "access-control-allow-origin" not in headers
    assert "unsafe" not in (await client.get("/health")).headers["content-security-policy"]
    forged = await client.get("/health", headers={"x-request-id": "a b\tc"})
    assert forged.headers["x-request-id"] != "a b\tc"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "evil.example"}, 403),
        ("GET", {"host": "localhost:8000"}, 200),
        ("GET", {"host": "[::1]:8000"}, 200),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://127.0.0.1"}, 200),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_other_sites_are_refused(
    client: httpx.AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    path, body = ("/health", None) if method == "GET" else ("/v1/search", {"query": "file"})
    answer = await client.request(method, path, json=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/start.js", "/static/app.js"])
async def test_a_monitor_may_ask_with_head(client: httpx.AsyncClient, path: str) -> None:
    asked, read = await client.head(path), await client.get(path)
    assert (asked.status_code, read.status_code) == (200, 200)
    assert asked.headers["content-length"] == read.headers["content-length"]
    assert asked.headers["content-security-policy"] == read.headers["content-security-policy"]


async def test_the_page_and_its_files_are_served(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    files = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert files
    for file in files:
        answer = await client.get(f"/{file}")
        assert answer.status_code == 200, file
        again = await client.get(f"/{file}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    for outside in ("/static/../app.py", "/static/%2e%2e/app.py", "/docs/assets/../__init__.py"):
        assert (await client.get(outside)).status_code == 404
