"""N x N canaries over every route: no answer ever holds another tenant's words.

The real app over the real embedded index, catalogue, ingest process, stores
and HTTP client of the language model; only the model itself is a fake, which
answers with its whole prompt, so that whatever reached the prompt is seen.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.settings import load_settings
from serving.access.keys import KeyStore
from serving.state import open_service
from tests.fakes.openai_server import FakeOpenAI, serve
from tests.fakes.qdrant_requests import qdrant_requests
from tests.fakes.service import app_of, client_to

pytestmark = pytest.mark.anyio

PATIENCE_S = 120.0
QUESTION = "What is the secret code of the vault?"


@dataclass
class Tenant:
    """One tenant and the words that only its own callers may read."""

    name: str
    canary: str
    key: str = ""
    job: str = ""
    conversation: str = ""
    results: set[str] = field(default_factory=set)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @property
    def key_id(self) -> str:
        return self.key.split("_")[1]

    def documents(self) -> dict[str, Any]:
        text = f"The secret code of the vault is {self.canary}. Nobody else may read {self.canary}."
        rows = [{"doc_id": one, "title": f"Vault {self.canary}", "text": text} for one in ("shared", "gone")]
        own = {"doc_id": f"own-{self.canary}", "title": "", "text": text, "metadata": {"label": self.canary}}
        return {"documents": [*rows, own]}

    def file(self) -> tuple[str, bytes]:
        body = f"# Section {self.canary}\n\nThe code of the vault begins with {self.canary}.\n"
        return f"{self.canary}.md", body.encode()


TENANTS = [Tenant(f"team{number}", f"zyx{number}canary{number}qqj") for number in range(3)]
Call = tuple[str, dict[str, Any]]

# Each route with what is asked of it: paths and bodies that point at the other tenant's things.
# No request holds the other's canary: an answer may repeat what it was asked.
ASKED: dict[tuple[str, str], Any] = {
    ("post", "/v1/search"): lambda other: [
        *(("/v1/search", {"json": {"query": QUESTION, "mode": mode}}) for mode in ("hybrid", "sparse")),
        ("/v1/search", {"json": {"query": QUESTION, "tenant": other.name}}),
    ],
    ("post", "/v1/query"): lambda other: [
        *(("/v1/query", {"json": {"query": QUESTION, **options}}) for options in QUERIES),
        ("/v1/query", {"json": {"query": QUESTION, "conversation_id": other.conversation}}),
    ],
    ("post", "/v1/chat/completions"): lambda other: [
        (
            "/v1/chat/completions",
            {"json": {"model": "winnow", "messages": [{"role": "user", "content": QUESTION}], **options}},
        )
        for options in ({}, {"stream": True}, {"user": other.name})
    ],
    ("get", "/v1/models"): lambda _: [("/v1/models", {})],
    ("post", "/v1/conversations"): lambda _: [("/v1/conversations", {"json": {"title": "mine"}})],
    ("get", "/v1/conversations"): lambda _: [("/v1/conversations", {"params": {"limit": 1000}})],
    ("get", "/v1/conversations/{conversation_id}"): lambda other: [
        (f"/v1/conversations/{other.conversation}", {})
    ],
    ("delete", "/v1/conversations/{conversation_id}"): lambda other: [
        (f"/v1/conversations/{other.conversation}", {})
    ],
    ("post", "/v1/documents"): lambda _: [
        ("/v1/documents", {"json": {"documents": [{"doc_id": "new", "text": "A new one."}]}}),
        ("/v1/documents", {"json": {"documents": []}}),
    ],
    ("get", "/v1/documents"): lambda _: [("/v1/documents", {"params": {"limit": 1000}})],
    ("get", "/v1/documents/{doc_id}"): lambda _: [(f"/v1/documents/{one}", {}) for one in PATHS],
    ("get", "/v1/documents/{doc_id}/text"): lambda _: [(f"/v1/documents/{one}/text", {}) for one in PATHS],
    ("get", "/v1/documents/{doc_id}/sentences"): lambda _: [
        (f"/v1/documents/{one}/sentences", {}) for one in PATHS
    ],
    ("delete", "/v1/documents/{doc_id}"): lambda _: [("/v1/documents/gone", {}), ("/v1/documents/none", {})],
    ("get", "/v1/jobs"): lambda _: [("/v1/jobs", {"params": {"limit": 1000}})],
    ("get", "/v1/jobs/{job_id}"): lambda other: [(f"/v1/jobs/{other.job}", {})],
    ("get", "/v1/collection"): lambda _: [("/v1/collection", {"params": {"facet_limit": 1000}})],
    ("get", "/v1/inspect/points"): lambda _: [
        ("/v1/inspect/points", {"params": params}) for params in ({"limit": 500}, {"doc_id": "shared"})
    ],
    ("get", "/v1/inspect/points/{point_id}"): lambda other: [
        (f"/v1/inspect/points/{one}", {}) for one in sorted(other.results)
    ],
    ("get", "/v1/inspect/map"): lambda _: [("/v1/inspect/map", {"params": {"sample": 2000}})],
    **{(method, f"/qdrant{path}"): asked for (method, path), asked in qdrant_requests().items()},
    ("get", "/health"): lambda _: [("/health", {})],
    ("get", "/ready"): lambda _: [("/ready", {})],
    ("get", "/metrics"): lambda _: [("/metrics", {})],
}
QUERIES: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"generate": False},
    {"hyde": True, "multi_query": 2},
    {"response_mode": "refine", "top_n": 2},
]
PATHS = ["shared", "gone", "new", "none"]
# What names the other tenant's own thing by its id is not there for anybody else.
NOT_THERE = {
    ("get", "/v1/conversations/{conversation_id}"),
    ("delete", "/v1/conversations/{conversation_id}"),
    ("get", "/v1/jobs/{job_id}"),
    ("get", "/v1/inspect/points/{point_id}"),
    ("get", "/qdrant/collections/{name}/points/{point_id}"),
}


def leaks(answer: httpx.Response, reader: Tenant) -> list[str]:
    """Return the canaries and the ids of keys in an answer that are not the reader's own."""
    whole = (str(answer.headers) + answer.text).lower()
    others = [name for one in TENANTS if one is not reader for name in (one.canary, one.key_id)]
    return [name for name in others if name in whole]


async def test_no_route_lets_a_tenant_see_another(tmp_path: Path) -> None:
    async with serve(FakeOpenAI()) as model:
        settings = load_settings(
            home=tmp_path / "home",
            encoders={"threads": 1},
            collection={"idle_exit_s": 1},
            generation={"url": model.url, "cache_answers": 100, "min_support": 0.0},
            serving={
                "require_keys": True,
                "query_log": tmp_path / "queries.jsonl",
                "deadline_s": 60,
                "port": 0,
            },
        )
        store = KeyStore(settings.home)
        for one in TENANTS:
            one.key = store.create(one.name, tenants=[one.name], scopes=["read", "write", "admin"]).text()
        service = await open_service(settings)
        try:
            async with client_to(app_of(settings, service)) as client:
                await _fill(client)
                for one in TENANTS:
                    await _finds_its_own(client, one)
                await _metrics_are_of_all_and_name_none(client)
                await _admins_alone_see_whose_key_brought_a_document(client, store)
                await _matrix(client)
                await _two_tenants_of_one_key(client, store)
        finally:
            await service.close()
            store.close()
        # Their cached prefixes are apart as well: a salt for each tenant.
        salts: dict[str, set[str]] = {}
        for call in model.calls:
            prompt = json.dumps(call.body["messages"])
            held = [one.name for one in TENANTS if one.canary in prompt]
            assert len(held) <= 1, "a prompt holds passages of two tenants"
            for name in held:
                salts.setdefault(name, set()).add(call.body["cache_salt"])
        assert sorted(salts) == [one.name for one in TENANTS]
        assert len(set.union(*salts.values())) == len(TENANTS)
    _check_query_log(tmp_path / "queries.jsonl")


async def _fill(client: httpx.AsyncClient) -> None:
    """Every tenant's two jobs, sent before any is waited for: one ingest process works them off."""
    jobs = []
    for one in TENANTS:
        for sent in (
            await client.post("/v1/documents", json=one.documents(), headers=one.headers),
            await client.post("/v1/documents", files=[("files", one.file())], headers=one.headers),
        ):
            assert sent.status_code == 202, sent.text
            one.job = sent.json()["job_id"]
            jobs.append((one, one.job))
    for one, job in jobs:
        await _succeeds(client, one, job)
    for one in TENANTS:
        made = await client.post("/v1/conversations", json={"title": one.canary}, headers=one.headers)
        one.conversation = made.json()["id"]
        body = {"query": f"{QUESTION} {one.canary}", "conversation_id": one.conversation}
        assert (await client.post("/v1/query", json=body, headers=one.headers)).status_code == 200


async def _succeeds(client: httpx.AsyncClient, one: Tenant, job_id: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        job = (await client.get(f"/v1/jobs/{job_id}", headers=one.headers)).json()
        if job["state"] not in ("queued", "running"):
            break
        assert time.monotonic() < until, job
        await asyncio.sleep(0.1)
    assert (job["state"], job["failed"]) == ("succeeded", 0), job


async def _finds_its_own(client: httpx.AsyncClient, one: Tenant) -> None:
    """A matrix without leaks means nothing where the canaries cannot be found by anybody."""
    for path, options in (
        ("/v1/search", {"json": {"query": QUESTION}}),
        ("/v1/query", {"json": {"query": QUESTION}}),
        ("/v1/documents", {}),
        ("/v1/documents/shared", {}),
        ("/v1/documents/shared/text", {}),
        ("/v1/conversations", {}),
        (f"/v1/conversations/{one.conversation}", {}),
        ("/v1/collection", {}),
        ("/v1/inspect/points", {}),
        ("/v1/inspect/map", {}),
        ("/qdrant/collections/winnow/points/scroll", {"json": {}}),
        ("/qdrant/collections/winnow/points/query", {"json": {"with_payload": True}}),
        ("/qdrant/collections/winnow/facet", {"json": {"key": "doc_id"}}),
    ):
        answer = await client.request("POST" if options else "GET", path, headers=one.headers, **options)
        assert answer.status_code == 200, (path, answer.text)
        assert one.canary in answer.text, path
        assert leaks(answer, one) == [], path
    found = (await client.post("/v1/search", json={"query": QUESTION}, headers=one.headers)).json()
    one.results = {result["id"] for result in found["results"]}
    collection = (await client.get("/v1/collection", headers=one.headers)).json()
    assert collection["documents"] == 4
    assert collection["points"] == 2 * 3 + 2  # three documents of two sentences, a heading and its line


async def _metrics_are_of_all_and_name_none(client: httpx.AsyncClient) -> None:
    texts = [(await client.get("/metrics", headers=one.headers)).text for one in TENANTS]
    for text in texts:
        assert "winnow_documents 12.0" in text
        assert 'winnow_jobs{state="succeeded"} 6.0' in text
        assert not any(one.name in text or one.canary in text for one in TENANTS)


async def _admins_alone_see_whose_key_brought_a_document(client: httpx.AsyncClient, store: KeyStore) -> None:
    one = TENANTS[0]
    reader = store.create("reader", tenants=[one.name], scopes=["read", "write"]).text()
    for headers, told in ((one.headers, one.key_id), ({"authorization": f"Bearer {reader}"}, None)):
        rows = (await client.get("/v1/documents", headers=headers)).json()["documents"]
        rows.append((await client.get("/v1/documents/shared", headers=headers)).json())
        found = (await client.post("/v1/search", json={"query": QUESTION}, headers=headers)).json()
        asked = await client.post("/v1/query", json={"query": QUESTION}, headers=headers)
        assert {row["ingested_by"] for row in [*rows, *found["results"]]} == {told}
        assert len(rows) > 4
        assert found["results"]
        # An answer may come from a cache or a conversation, which all of the tenant's keys share.
        assert {row["ingested_by"] for row in asked.json()["results"]} == {None}


async def _matrix(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    routes = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert routes == set(ASKED), "a route that this matrix does not ask"
    # What deletes comes last, so that the others have something to find.
    ordered = sorted(routes, key=lambda route: (route[0] == "delete", route))
    asked = 0
    for route in ordered:
        for reader, other in _pairs():
            for path, options in ASKED[route](other):
                answer = await client.request(route[0], path, headers=reader.headers, **options)
                asked += 1
                assert answer.status_code < 500, (route, answer.text)
                assert leaks(answer, reader) == [], (route, reader.name, other.name, answer.text)
                if route in NOT_THERE and reader is not other:
                    assert answer.status_code == 404, (route, answer.text)
                # The other's name in the header opens nothing.
                if reader is not other and not route[1].startswith(("/health", "/ready")):
                    headers = {**reader.headers, "x-winnow-tenant": other.name}
                    answer = await client.request(route[0], path, headers=headers, **options)
                    assert answer.status_code == 403, (route, answer.status_code)
                    assert leaks(answer, reader) == []
    assert asked >= len(routes) * len(TENANTS) ** 2
    for one in TENANTS:  # nobody's deletions reached anybody else
        left = (await client.get("/v1/documents", headers=one.headers)).json()["documents"]
        assert {"shared", f"own-{one.canary}"} <= {row["doc_id"] for row in left}
        assert "gone" not in {row["doc_id"] for row in left}


def _pairs() -> Iterator[tuple[Tenant, Tenant]]:
    """Every reader with every other tenant, and last with itself."""
    for reader in TENANTS:
        for other in TENANTS:
            if reader is not other:
                yield reader, other
    for reader in TENANTS:
        yield reader, reader


async def _two_tenants_of_one_key(client: httpx.AsyncClient, store: KeyStore) -> None:
    first, second, third = TENANTS
    key = store.create("both", tenants=[first.name, second.name], scopes=["read"]).text()
    for chosen in (first, second):
        headers = {"authorization": f"Bearer {key}", "x-winnow-tenant": chosen.name}
        for _ in range(2):  # the second time from the cache of answers
            answer = await client.post("/v1/query", json={"query": QUESTION}, headers=headers)
            assert chosen.canary in answer.text
            assert leaks(answer, chosen) == []
    headers = {"authorization": f"Bearer {key}", "x-winnow-tenant": third.name}
    assert (await client.post("/v1/query", json={"query": QUESTION}, headers=headers)).status_code == 403


def _check_query_log(path: Path) -> None:
    lines: list[Mapping[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["tenant"] for line in lines} == {one.name for one in TENANTS}
    for one in TENANTS:
        others = {found for other in TENANTS if other is not one for found in other.results}
        for line in lines:
            if line["tenant"] == one.name:
                assert not others & set(line["results"])
