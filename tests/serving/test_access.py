"""Keys, tokens, scopes, rates: who is let in, and how far."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt as pyjwt
import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from indexing.errors import InputError, NotFoundError, SettingsError
from indexing.settings import load_settings
from serving.access import cli
from serving.access.keys import KeyStore
from serving.access.principal import Limits
from serving.access.rates import RateLimiter
from serving.access.rules import rule_of
from serving.access.tokens import Token, new_token, parse_token
from serving.app import create_app
from serving.errors import UnauthenticatedError
from serving.server import refuse_open_network
from tests.fakes.service import Harness, make_harness
from tests.serving.conftest import client_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a shared secret of more than 32 characters"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2024, 5, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def guarded(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Harness]:
    made = await make_harness(tmp_path, require_keys=True, audit_log=tmp_path / "audit.jsonl")
    yield made
    await made.close()


@pytest.fixture
def store(guarded: Harness) -> KeyStore:
    return KeyStore(guarded.settings.home)


def bearer(token: Token | str, tenant: str | None = None) -> dict[str, str]:
    text = token if isinstance(token, str) else token.text()
    headers = {"authorization": f"Bearer {text}"}
    return headers if tenant is None else {**headers, "x-winnow-tenant": tenant}


# The store


def test_a_key_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    token = store.create("ci", tenants=["a"], scopes=["read"])
    store.close()
    for file in tmp_path.iterdir():
        assert token.secret.encode() not in file.read_bytes(), file.name
    assert token.secret not in repr(token)
    assert (tmp_path / "access.db").stat().st_mode & 0o077 == 0


def test_keys_have_256_random_bits_and_one_form() -> None:
    token = new_token()
    assert parse_token(token.text()) == token
    assert len({new_token().secret for _ in range(100)}) == 100
    assert len(token.secret) * 6 >= 256
    for wrong in ("", "wnw_", token.text() + "x", token.text()[:-1], f"wnw_{'g' * 12}_{token.secret}"):
        assert parse_token(wrong) is None


def test_a_wrong_secret_of_a_known_id_is_refused(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    token = store.create("ci", tenants=["a", "b"], scopes=["read", "write"])
    assert store.authenticate(token).tenants == ("a", "b")
    with pytest.raises(UnauthenticatedError, match="not known"):
        store.authenticate(new_token(token.id))


def test_an_expired_key_ends_on_time(tmp_path: Path) -> None:
    clock = Clock()
    store = KeyStore(tmp_path, now=clock)
    token = store.create("ci", tenants=["a"], scopes=["read"], days=1)
    clock.now += timedelta(hours=23, minutes=59)
    store.authenticate(token)
    clock.now += timedelta(minutes=1)
    with pytest.raises(UnauthenticatedError, match="expired"):
        store.authenticate(token)
    with pytest.raises(UnauthenticatedError, match="not known"):
        store.authenticate(new_token(token.id))  # a stranger does not learn that it expired


def test_a_rotation_leaves_the_old_secret_valid_for_the_grace(tmp_path: Path) -> None:
    clock = Clock()
    store = KeyStore(tmp_path, now=clock)
    first = store.create("ci", tenants=["a"], scopes=["read"])
    second = store.rotate(first.id, grace=timedelta(hours=1))
    assert second.secret != first.secret
    for token in (first, second):
        assert store.authenticate(token).id == first.id
    clock.now += timedelta(hours=1)
    store.authenticate(second)
    with pytest.raises(UnauthenticatedError):
        store.authenticate(first)
    third = store.rotate(first.id, grace=timedelta(0))
    store.authenticate(third)
    with pytest.raises(UnauthenticatedError):
        store.authenticate(second)


def test_a_revoked_key_ends_at_once_with_both_secrets(tmp_path: Path) -> None:
    store, other = KeyStore(tmp_path), KeyStore(tmp_path)
    first = store.create("ci", tenants=["a"], scopes=["read"])
    second = store.rotate(first.id, grace=timedelta(hours=1))
    store.authenticate(second)
    other.revoke(first.id)
    for token in (first, second):
        with pytest.raises(UnauthenticatedError):
            store.authenticate(token)
    with pytest.raises(NotFoundError, match="revoked"):
        store.rotate(first.id, grace=timedelta(0))


def test_use_is_noted(tmp_path: Path) -> None:
    clock = Clock()
    store = KeyStore(tmp_path, now=clock)
    token = store.create("ci", tenants=["a"], scopes=["read"])
    assert store.list()[0].used_at is None
    store.authenticate(token)
    assert store.list()[0].used_at == "2024-05-06T00:00:00.000+00:00"


@pytest.mark.parametrize("tenants", [[], [""], ["a b"], ["../a"], ["a\n"], ["é"], ["x" * 65], ["-a"]])
def test_tenants_that_would_need_escaping_are_refused(tmp_path: Path, tenants: list[str]) -> None:
    with pytest.raises(InputError):
        KeyStore(tmp_path).create("ci", tenants=tenants, scopes=["read"])


# The rate


def test_a_bucket_allows_a_burst_and_then_the_rate() -> None:
    now = 0.0
    limiter = RateLimiter(lambda: now)
    assert [limiter.take("a", 60) for _ in range(11)] == [0.0] * 10 + [1.0]
    assert limiter.take("b", 60) == 0.0
    now = 0.5
    assert limiter.take("a", 60) == pytest.approx(0.5)
    now = 1.0
    assert limiter.take("a", 60) == 0.0
    allowed = 0
    for tick in range(1, 601):
        now = 1.0 + tick / 10
        allowed += limiter.take("a", 60) == 0.0
    assert allowed == 60


# The service


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
    app = create_app(guarded.settings, guarded.service)
    app.state.service = guarded.service
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
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


# Tokens of an identity provider


def claims(**changes: object) -> dict[str, object]:
    now = datetime.now(UTC)
    plain = {
        "iss": "https://id.example",
        "aud": "winnow",
        "sub": "ada",
        "exp": now + timedelta(minutes=5),
        "tenants": ["a", "b"],
        "scope": "read openid",
    }
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


def hs256(header: dict[str, object], body: dict[str, object], secret: bytes) -> str:
    """Return a token as a forger makes it, without the library's own checks."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    plain = {
        name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in body.items()
    }
    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(plain).encode())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


async def jwt_status(home: Path, settings: dict[str, object], token: str, tenant: str | None = None) -> int:
    section = {"issuer": "https://id.example", "audience": "winnow", **settings}
    harness = await make_harness(home, require_keys=True, jwt=section)
    try:
        async with client_of(harness) as client:
            return (await client.get("/v1/documents", headers=bearer(token, tenant))).status_code
    finally:
        await harness.close()


@pytest.mark.parametrize(
    ("changes", "tenant", "status"),
    [
        ({}, None, 200),
        ({}, "b", 200),
        ({"tenants": "a"}, None, 200),
        ({"scope": ["read"]}, None, 200),
        ({}, "c", 403),
        ({"scope": "write"}, None, 403),
        ({"scope": None}, None, 403),
        ({"tenants": None}, None, 401),
        ({"tenants": ["../a"]}, None, 401),
        ({"exp": datetime(2020, 1, 1, tzinfo=UTC)}, None, 401),
        ({"exp": None}, None, 401),
        ({"sub": None}, None, 401),
        ({"iss": "https://evil.example"}, None, 401),
        ({"aud": "another"}, None, 401),
    ],
)
async def test_claims_decide(
    tmp_path: Path, changes: dict[str, object], tenant: str | None, status: int
) -> None:
    token = pyjwt.encode(claims(**changes), SECRET, algorithm="HS256")
    assert await jwt_status(tmp_path, {"secret": SECRET}, token, tenant) == status


async def test_a_forged_token_is_refused(tmp_path: Path) -> None:
    forged = pyjwt.encode(claims(), "another secret of more than 32 characters", algorithm="HS256")
    unsigned = pyjwt.encode(claims(), None, algorithm="none")
    for token in (forged, unsigned, "a.b.c", "nonsense"):
        assert await jwt_status(tmp_path, {"secret": SECRET}, token) == 401
    by_hand = hs256({"alg": "HS256"}, claims(), SECRET.encode())
    assert await jwt_status(tmp_path, {"secret": SECRET}, by_hand) == 200


async def test_a_key_set_is_read_and_read_again(tmp_path: Path) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    path = tmp_path / "jwks.json"

    def publish(*numbers: int) -> None:
        algorithm = pyjwt.algorithms.ECAlgorithm
        public = [json.loads(algorithm.to_jwk(keys[number].public_key())) for number in numbers]
        rows = [{**one, "kid": str(n), "alg": "ES256"} for n, one in zip(numbers, public, strict=True)]
        path.write_text(json.dumps({"keys": rows}))

    def signed(number: int) -> str:
        return pyjwt.encode(claims(), keys[number], algorithm="ES256", headers={"kid": str(number)})

    publish(0)
    settings: dict[str, object] = {"jwks": path}
    assert await jwt_status(tmp_path, settings, signed(0)) == 200
    assert await jwt_status(tmp_path, settings, signed(1)) == 401
    # The public key is public: signing with it as a shared secret must not pass.
    confused = hs256({"alg": "HS256", "kid": "0"}, claims(), path.read_bytes())
    assert await jwt_status(tmp_path, settings, confused) == 401

    harness = await make_harness(
        tmp_path,
        require_keys=True,
        jwt={"issuer": "https://id.example", "audience": "winnow", "jwks": path},
    )
    async with client_of(harness) as client:
        assert (await client.get("/v1/documents", headers=bearer(signed(1)))).status_code == 401
        publish(1)
        assert (await client.get("/v1/documents", headers=bearer(signed(1)))).status_code == 200
        path.write_text("{")  # half-written: what was read before stays
        assert (await client.get("/v1/documents", headers=bearer(signed(1)))).status_code == 200
    await harness.close()


@pytest.mark.parametrize("section", [{}, {"secret": SECRET, "jwks": "x"}, {"secret": "short"}])
def test_a_token_needs_one_kind_of_key(section: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        load_settings(serving={"jwt": {"issuer": "i", "audience": "a", **section}})


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


def run(*arguments: str, home: Path) -> Result:
    return CliRunner().invoke(cli.app, [*arguments, "--home", str(home)])


def test_the_command_line(tmp_path: Path) -> None:
    made = run("create", "ci job", "--tenant", "a", "--scope", "read", "--scope", "write", home=tmp_path)
    token = parse_token(made.stdout.strip())
    assert token is not None, made.output
    (row,) = json.loads(run("list", "--json", home=tmp_path).stdout)["keys"]
    assert (row["name"], row["tenants"], row["scopes"], row["state"]) == (
        "ci job",
        ["a"],
        ["read", "write"],
        "valid",
    )
    listed = run("list", home=tmp_path).stdout
    assert "ci job" in listed
    assert token.secret not in listed
    renewed = parse_token(run("rotate", token.id, home=tmp_path).stdout.strip())
    assert renewed is not None
    assert (renewed.id, renewed.secret == token.secret) == (token.id, False)
    assert run("revoke", f"wnw_{token.id}", home=tmp_path).exit_code == 0
    assert "revoked" in run("list", home=tmp_path).stdout
    assert run("revoke", "0" * 12, home=tmp_path).exit_code == 2
    assert run("create", "x", "--tenant", "a b", home=tmp_path).exit_code == 2
    file = tmp_path / "keys" / "metrics"
    for _ in range(2):  # the second time the file is there and no key is made
        assert run("create", "m", "--scope", "admin", "--output", str(file), home=tmp_path).exit_code == 0
    assert parse_token(file.read_text()) is not None
    assert file.stat().st_mode & 0o077 == 0
    assert len(json.loads(run("list", "--json", home=tmp_path).stdout)["keys"]) == 2


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving.keys", "create", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "--tenant" in done.stdout
