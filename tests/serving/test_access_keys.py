"""The store of API keys, their rate, and the command line that makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from indexing.errors import InputError, NotFoundError
from serving.access import cli
from serving.access.keys import KeyStore
from serving.access.rates import RateLimiter
from serving.access.tokens import new_token, parse_token
from serving.errors import UnauthenticatedError

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2024, 5, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


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


# The command line


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
