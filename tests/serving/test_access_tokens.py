"""Tokens of an identity provider: claims, forgeries, key sets."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from indexing.errors import SettingsError
from indexing.settings import load_settings
from tests.fakes.access import bearer
from tests.fakes.service import client_of, make_harness

pytestmark = pytest.mark.anyio

SECRET = "a shared secret of more than 32 characters"


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
