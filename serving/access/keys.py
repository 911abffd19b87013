"""API keys in SQLite (``access.db`` in the home folder); secrets only as hashes."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, Float, Integer, MetaData, Row, String, Table, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from indexing.catalog.engine import sqlite_engine, writing
from indexing.errors import CatalogError, NotFoundError
from serving.access.principal import UNLIMITED, Limits, checked_scopes, checked_tenants
from serving.access.tokens import Token, new_token
from serving.errors import UnauthenticatedError

logger = logging.getLogger(__name__)

_USED_EVERY_S = 60.0
metadata = MetaData()
keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("old_digest", String),
    Column("old_until", String),
    Column("scopes", String, nullable=False),
    Column("tenants", String, nullable=False),
    Column("per_minute", Integer),
    Column("max_body_mb", Float),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
    Column("revoked_at", String),
    Column("used_at", String),
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as lists show it; times are ISO 8601 in UTC."""

    id: str
    name: str
    scopes: frozenset[str]
    tenants: tuple[str, ...]
    limits: Limits
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None
    old_until: str | None

    def state(self, now: str) -> str:
        """Return "revoked", "expired" or "valid"."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class KeyStore:
    """The keys of one home folder; methods block, so call them in a thread.

    Every presented key is looked up: a key that is revoked, by another process
    too, is refused from the next request on.
    """

    def __init__(self, home: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()
        with _translated():
            home.mkdir(parents=True, exist_ok=True)
            path = home / "access.db"
            path.touch(mode=0o600)
            self._engine: Engine = sqlite_engine(URL.create("sqlite", database=str(path)))
            metadata.create_all(self._engine)

    def create(
        self,
        name: str,
        *,
        tenants: Iterable[str],
        scopes: Iterable[str],
        days: float | None = None,
        limits: Limits = UNLIMITED,
    ) -> Token:
        """Return a new key, in clear for the only time.

        Raises:
            InputError: a tenant or a scope is not acceptable.
        """
        token = new_token()
        row = {
            "id": token.id,
            "name": name,
            "digest": token.digest(),
            "scopes": json.dumps(sorted(checked_scopes(scopes))),
            "tenants": json.dumps(checked_tenants(tenants)),
            "per_minute": limits.per_minute,
            "max_body_mb": limits.max_body_mb,
            "created_at": self._time(),
            "expires_at": None if days is None else self._time(timedelta(days=days)),
        }
        with _translated(), writing(self._engine).begin() as connection:
            connection.execute(insert(keys).values(row))
        return token

    def rotate(self, key_id: str, *, grace: timedelta) -> Token:
        """Return a new secret for a key; the one before stays valid for the grace.

        A secret that an earlier rotation left valid ends now.

        Raises:
            NotFoundError: there is no such key, or it is revoked.
        """
        token = new_token(key_id)
        with _translated(), writing(self._engine).begin() as connection:
            found = self._find(connection, key_id)
            if found.revoked_at is not None:
                raise NotFoundError(f"key {key_id} is revoked; create a new one")
            changes = {
                "digest": token.digest(),
                "old_digest": found.digest,
                "old_until": self._time(grace),
            }
            connection.execute(update(keys).where(keys.c.id == key_id).values(changes))
        return token

    def revoke(self, key_id: str) -> None:
        """End a key now, both secrets of a rotation too.

        Raises:
            NotFoundError: there is no such key.
        """
        with _translated(), writing(self._engine).begin() as connection:
            self._find(connection, key_id)
            changes = {"revoked_at": self._time(), "old_digest": None, "old_until": None}
            connection.execute(
                update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(changes)
            )

    def list(self) -> list[Key]:
        """Return every key, the oldest first."""
        with _translated(), self._engine.connect() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id)).all()
        return [_key(row) for row in rows]

    def authenticate(self, token: Token) -> Key:
        """Return the key that was presented, and note that it was used, once a minute.

        Raises:
            UnauthenticatedError: unknown, wrong, expired or revoked; which of
                these is said to the holder of the right secret only.
        """
        now = self._time()
        with _translated(), self._engine.connect() as connection:
            row = connection.execute(select(keys).where(keys.c.id == token.id)).first()
        if row is None or not _secret_fits(row, token, now):
            raise UnauthenticatedError("the API key is not known here")
        key = _key(row)
        state = key.state(now)
        if state != "valid":
            raise UnauthenticatedError(f"the API key {key.id} is {state}")
        self._note_use(key.id, now)
        return key

    def now(self) -> str:
        """Return this store's time as it is compared with the columns."""
        return self._time()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _note_use(self, key_id: str, now: str) -> None:
        with self._lock:
            last = self._used.get(key_id)
            if last is not None and time.monotonic() - last < _USED_EVERY_S:
                return
            self._used[key_id] = time.monotonic()
        try:
            with writing(self._engine).begin() as connection:
                connection.execute(update(keys).where(keys.c.id == key_id).values(used_at=now))
        except SQLAlchemyError as error:
            # A date in a list is not worth refusing a valid key for.
            logger.warning("key_use_not_noted id=%s reason=%s", key_id, error)

    def _find(self, connection: Any, key_id: str) -> Row[Any]:
        found: Row[Any] | None = connection.execute(select(keys).where(keys.c.id == key_id)).first()
        if found is None:
            raise NotFoundError(f"no key {key_id!r}; python -m serving.keys list shows them")
        return found

    def _time(self, later: timedelta = timedelta()) -> str:
        return (self._now() + later).isoformat(timespec="milliseconds")


def _secret_fits(row: Row[Any], token: Token, now: str) -> bool:
    if token.matches(row.digest):
        return True
    grace = row.old_digest is not None and row.old_until is not None and row.old_until > now
    return grace and token.matches(row.old_digest)


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=frozenset(json.loads(row.scopes)),
        tenants=tuple(json.loads(row.tenants)),
        limits=Limits(row.per_minute, row.max_body_mb),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
        old_until=row.old_until,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise CatalogError(f"the store of API keys failed: {error}") from error
