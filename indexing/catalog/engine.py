"""Open the catalogue's database and check its schema."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, insert, inspect, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from indexing.catalog.schema import (
    MIRROR_TRIGGER,
    REVISION_TRIGGERS,
    SCHEMA_VERSION,
    documents,
    meta,
    metadata,
)
from indexing.errors import CatalogError
from indexing.identity import point_prefix

_BUSY_TIMEOUT_S = 30.0
_BUSY_PAUSE_S = 0.01
_BEGIN = "winnow_begin"


def open_engine(url: str | None, home: Path) -> Engine:
    """Return an engine on ``url``, or on ``home/catalog.db``, its tables in place.

    Raises:
        CatalogError: the database cannot be opened, is of a kind not supported
            yet (SQLite is), or was written by a newer Winnow.
    """
    try:
        target = make_url(url) if url else URL.create("sqlite", database=str(home / "catalog.db"))
        if target.get_backend_name() != "sqlite":
            raise CatalogError(
                f"catalog.url: only sqlite:///PATH is supported, not {target.get_backend_name()!r}"
            )
        if not target.database or target.database == ":memory:":
            raise CatalogError("catalog.url: only sqlite:///PATH is supported; it names no file")
        Path(target.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlite_engine(target)
        _prepare_schema(engine)
    except (ArgumentError, SQLAlchemyError, OSError) as error:
        raise CatalogError(f"the catalogue does not open: {error}") from error
    return engine


def sqlite_engine(target: URL) -> Engine:
    """Return an engine on a SQLite file that keeps what it has committed.

    Nobody waits for a connection: there are as many as threads that want one,
    and the event loop reads windows among them.  The one used last is used
    next: each has its own cache of what it read.
    """
    engine = create_engine(
        target,
        max_overflow=-1,
        pool_use_lifo=True,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock as they begin.

    A transaction that reads first and writes later would otherwise fail at
    once, without waiting, when another process has written in between.
    """
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def snapshot(engine: Engine) -> Engine:
    """The same engine, whose several reads see one state of the database."""
    return engine.execution_options(**{_BEGIN: "BEGIN"})


def _set_pragmas(connection: Any, _record: object) -> None:
    """FULL: a committed row survives a power cut, as the ingest's order of steps needs."""
    connection.isolation_level = None  # transactions begin as _begin says, not as the driver guesses
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-32000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Have the file keep a write-ahead log; it does from its first opening on.

    While another process changes a file to this mode, or writes to one that is
    not in it, SQLite refuses at once and does not wait as it does elsewhere.
    """
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(_BUSY_PAUSE_S)


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement is not None:
        connection.exec_driver_sql(statement)


def _prepare_schema(engine: Engine) -> None:
    version = select(meta.c.value).where(meta.c.key == "schema_version")
    if inspect(engine).has_table(meta.name):
        with engine.connect() as connection:
            found = connection.scalar(version)
        if found is not None and int(found) > SCHEMA_VERSION:
            raise CatalogError(
                f"a newer Winnow wrote this catalogue (schema {found}, this one reads up to "
                f"{SCHEMA_VERSION}); run: pip install --upgrade winnow-search"
            )
        if found is not None and int(found) == SCHEMA_VERSION and _has_triggers(engine):
            return
    with writing(engine).begin() as connection:  # two first starts at once: one creates, one finds
        metadata.create_all(connection)
        if connection.scalar(version) is None:
            connection.execute(insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
        else:  # what newer versions added beside new tables
            _add_columns(connection)
            connection.execute(
                update(meta).where(meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION))
            )
        for statement in (*REVISION_TRIGGERS, MIRROR_TRIGGER):
            connection.exec_driver_sql(statement)


def _add_columns(connection: Connection) -> None:
    """Give a catalogue of an earlier schema what its documents lack."""
    present = {known["name"] for known in inspect(connection).get_columns(documents.name)}
    for column in (documents.c.ingested_by, documents.c.points):
        if column.name not in present:
            connection.exec_driver_sql(f"ALTER TABLE {documents.name} ADD COLUMN {column.name} TEXT")
    if documents.c.points.name not in present:
        _name_points(connection)


def _name_points(connection: Connection) -> None:
    """Fill in what follows from a document's identity, and index it."""
    d = documents.c
    rows = connection.execute(select(d.key, d.tenant, d.doc_id, d.version)).all()
    names = [{"row": row.key, "name": point_prefix(row.tenant, row.doc_id, row.version)} for row in rows]
    if names:
        connection.execute(
            update(documents).where(d.key == bindparam("row")).values(points=bindparam("name")), names
        )
    for index in documents.indexes:
        index.create(connection, checkfirst=True)


def _has_triggers(engine: Engine) -> bool:
    """Whether this catalogue counts its changes; one of an earlier Winnow begins to now."""
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'revision_%'"
    with engine.connect() as connection:
        return connection.exec_driver_sql(count).scalar() == len(REVISION_TRIGGERS)
