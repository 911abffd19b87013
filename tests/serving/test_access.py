"""Who is let in, and how far: scopes, tenants, rates, the audit log, over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from indexing.errors import SettingsError
from indexing.settings import load_settings
from serving.access.keys import KeyStore
from serving.access.principal import Limits
from serving.access.rules import rule_of
from serving.access.tokens import new_token
from serving.server import refuse_open_network
from tests.fakes.access import bearer
from tests.fakes.service import Harness, app_of, client_of, client_to, make_harness

pytestmark = pytest.mark.anyio


@pytest.fixture
async def guarded(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path, require_keys=True, audit_log=tmp_path / "audit.jsonl")
    yield made
    await made.close()


@pytest.fixture
def store(guarded: Harness) -> KeyStore:
    return KeyStore(guarded.settings.home)


async def test_every_route_but_pages_and_probes_asks_for_a_key(guarded: Harness) -> None:
    async with client_of(guarded) as client:
        schema = (await client.get("/openapi.json")).json()
        for path, methods in schema["paths"].items():
            for method in methods:
                answer = await client.request(method, path)
                expected = {200} if path in ("/health", "/ready") else {401}
                assert {answer.status_code} == expected, (method, path)
        assert (await client.get("/v1/documents")).headers["www-authenticate"].startswith("Bearer")
        for path in ("/", "/docs", "/static/app.js"):
            assert (await client.get(path)).status_code == 200
        for path in ("/nowhere", "/static/%2e%2e/metrics", "//metrics", "/metrics/", "/v1//documents"):
            assert (await client.get(f"http://127.0.0.1{path}")).status_code in (401, 404), path


async def test_scopes_do_not_include_one_another(guarded: Harness, store: KeyStore) -> None:
    key = {scope: store.create(scope, tenants=["a"], scopes=[scope]) for scope in ("read", "write", "admin")}
    calls = {
        "read": [("GET", "/v1/documents"), ("POST", "/v1/search"), ("GET", "/v1/conversations")],
        "write": [("DELETE", "/v1/documents/none"), ("POST", "/v1/documents"), ("POST", "/v1/conversations")],
        "admin": [("GET", "/metrics")],
    }
    async with client_of(guarded) as client:
        for needed, requests in calls.items():
            for scope, token in key.items():
                for method, path in requests:
                    answer = await client.request(method, path, headers=bearer(token))
                    refused = answer.status_code == 403
                    assert refused == (scope != needed), (scope, method, path, answer.status_code)


async def test_asking_in_a_conversation_writes_to_it(guarded: Harness, store: KeyStore) -> None:
    reader = store.create("r", tenants=["a"], scopes=["read"])
    writer = store.create("w", tenants=["a"], scopes=["read", "write"])
    async with client_of(guarded) as client:
        made = (await client.post("/v1/conversations", json={}, headers=bearer(writer))).json()
        body = {"query": "open a file", "conversation_id": made["id"]}
        assert (await client.post("/v1/query", json=body, headers=bearer(reader))).status_code == 403
        assert (await client.post("/v1/query", json=body, headers=bearer(writer))).status_code == 200


async def test_the_header_chooses_among_the_keys_tenants(guarded: Harness, store: KeyStore) -> None:
    token = store.create("ci", tenants=["a", "b"], scopes=["read"])
    async with client_of(guarded) as client:
        for asked, tenant in ((None, "a"), ("a", "a"), ("b", "b")):
            answer = await client.post("/v1/search", json={"query": "file"}, headers=bearer(token, asked))
            assert answer.status_code == 200
            assert guarded.searcher.requests[-1].tenant == tenant
        count = len(guarded.searcher.requests)
        for asked in ("c", "A", "default", "", "a,b"):
            answer = await client.post("/v1/search", json={"query": "file"}, headers=bearer(token, asked))
            assert answer.status_code == 403
        assert len(guarded.searcher.requests) == count


async def test_without_keys_another_tenant_is_refused_and_not_ignored(client: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer none"}  # what an OpenAI client sends in any case
    assert (await client.get("/v1/documents", headers=headers)).status_code == 200
    assert (await client.get("/v1/documents", headers={"x-winnow-tenant": "default"})).status_code == 200
    assert (await client.get("/v1/documents", headers={"x-winnow-tenant": "a"})).status_code == 403


async def test_readiness_tells_details_to_operators_only(guarded: Harness, store: KeyStore) -> None:
    reader = store.create("r", tenants=["a"], scopes=["read"])
    admin = store.create("o", tenants=["a"], scopes=["admin"])
    async with client_of(guarded) as client:
        for headers, told in (
            ({}, False),
            (bearer("wrong"), False),
            (bearer(reader, "other"), False),
            (bearer(reader), False),
            (bearer(admin), True),
        ):
            answer = await client.get("/ready", headers=headers)
            assert answer.status_code == 200
            assert any(check["detail"] for check in answer.json()["checks"]) == told


async def test_a_key_used_too_often_is_told_when_to_come_back(guarded: Harness, store: KeyStore) -> None:
    slow = store.create("slow", tenants=["a"], scopes=["read"], limits=Limits(per_minute=6))
    free = store.create("free", tenants=["a"], scopes=["read"])
    async with client_of(guarded) as client:
        assert (await client.get("/v1/models", headers=bearer(slow))).status_code == 200
        answer = await client.get("/v1/models", headers=bearer(slow))
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert answer.json()["type"] == "rate-limited"
        assert (await client.get("/v1/models", headers=bearer(free))).status_code == 200


async def test_a_key_has_a_body_limit_of_its_own(guarded: Harness, store: KeyStore) -> None:
    limits = Limits(max_body_mb=0.001)
    token = store.create("small", tenants=["a"], scopes=["read", "write"], limits=limits)
    body = {"query": "word " * 400}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 100

    async with client_of(guarded) as client:
        headers = bearer(token)
        assert (await client.post("/v1/search", json={"query": "file"}, headers=headers)).status_code == 200
        assert (await client.post("/v1/search", json=body, headers=headers)).status_code == 413
        files = [("files", ("a.txt", b"x" * 2000))]
        assert (await client.post("/v1/documents", files=files, headers=headers)).status_code == 413
        headers["content-type"] = "application/json"
        for path in ("/v1/documents", "/v1/search"):
            assert (await client.post(path, content=pieces(), headers=headers)).status_code == 413
        other = bearer(store.create("any", tenants=["a"], scopes=["read", "write"]))
        assert (await client.post("/v1/search", json=body, headers=other)).status_code == 200


async def test_the_audit_log_has_callers_and_no_secrets(
    guarded: Harness, store: KeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = store.create("ci", tenants=["a"], scopes=["read"])
    stranger = new_token()
    app = app_of(guarded.settings, guarded.service)
    async with app.router.lifespan_context(app), client_to(app) as client:
        await client.post("/v1/search", json={"query": "a private question"}, headers=bearer(token))
        await client.delete("/v1/documents/files", headers=bearer(token))
        await client.get("/v1/documents", headers=bearer(stranger))
        await client.get("/health")
    text = (guarded.settings.home / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(one["caller"], one["tenant"], one["scope"], one["status"]) for one in lines] == [
        (token.id, "a", "read", 200),
        (token.id, "a", "write", 403),
        (None, None, "read", 401),
    ]
    assert lines[1]["path"] == "/v1/documents/files"
    for secret in (token.secret, stranger.secret, "a private question"):
        assert secret not in text
    info = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert any(f"caller={token.id}" in line for line in info)
    assert not any(one in line for line in info for one in (token.secret, stranger.secret))


# Starting


def test_a_network_address_needs_keys() -> None:
    for host in ("0.0.0.0", "::", "10.0.0.1", "winnow.example"):
        with pytest.raises(SettingsError, match="require_keys"):
            refuse_open_network(load_settings(serving={"host": host}).serving)
        refuse_open_network(load_settings(serving={"host": host, "require_keys": True}).serving)
        refuse_open_network(load_settings(serving={"host": host, "allow_open": True}).serving)
    for host in ("127.0.0.1", "::1", "localhost"):
        refuse_open_network(load_settings(serving={"host": host}).serving)


def test_what_nobody_thought_of_is_closed() -> None:
    assert rule_of("PUT", "/v1/anything") == "write"
    assert rule_of("HEAD", "/metrics") == "admin"
    assert rule_of("POST", "/") == "admin"
    assert rule_of("GET", "/new") == "admin"
