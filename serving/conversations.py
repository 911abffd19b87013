"""Conversations in SQLite: what was asked, what was answered, from which passages, and what did not hold.

Each turn keeps the message that went to the model, so that the next prompt
begins with exactly the same text and the model's prefix cache serves it.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from indexing.catalog.engine import sqlite_engine, writing
from indexing.errors import CatalogError, NotFoundError
from retrieval.generation.prompts import ContextPassage, Turn
from retrieval.generation.protocol import Message
from retrieval.records import Citation
from serving.answering.records import Written
from serving.conversation_schemas import Evidence
from serving.convert import evidence_of

log = logging.getLogger(__name__)
_TITLE_CHARS = 80
_EXPIRE_EVERY_S = 3600.0
metadata = MetaData()
conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False, index=True),
    Column("title", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False, index=True),
)
turns = Table(
    "turns",
    metadata,
    Column("conversation_id", String, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("kind", String, nullable=False),
    Column("model", String),
    Column("citations", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("passages", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("evidence", Text),
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the list."""

    id: str
    title: str
    created_at: str
    updated_at: str
    turns: int


@dataclass(frozen=True, slots=True)
class SavedTurn:
    """One question and its answer.

    ``sent`` is what the next prompt repeats, None without a model;
    ``evidence`` is None where an earlier version kept the turn.
    """

    question: str
    answer: str
    kind: str
    model: str | None
    citations: tuple[Citation, ...]
    created_at: str
    sent: Turn | None
    evidence: Evidence | None = None


class Conversations:
    """The store; its methods block, so call them in a thread.

    Every method takes the tenant, and a conversation of another one is not
    found.

    Args:
        home: the index folder; the database is ``conversations.db`` in it.
        days: a conversation not used for so long is deleted.
    """

    def __init__(self, home: Path, *, days: float) -> None:
        self._days = days
        self._expired_at = 0.0
        with _translated():
            home.mkdir(parents=True, exist_ok=True)
            self._engine: Engine = sqlite_engine(
                URL.create("sqlite", database=str(home / "conversations.db"))
            )
            _prepare_schema(self._engine)
        self.expire()

    def create(self, tenant: str, title: str = "") -> Conversation:
        """Return a new, empty conversation."""
        now = _now()
        if monotonic() - self._expired_at > _EXPIRE_EVERY_S:
            self.expire()
        made = Conversation(uuid.uuid4().hex, title[:_TITLE_CHARS], now, now, 0)
        with _translated(), writing(self._engine).begin() as connection:
            row = {"id": made.id, "tenant": tenant, "title": made.title, "created_at": now, "updated_at": now}
            connection.execute(insert(conversations).values(row))
        return made

    def list(self, tenant: str, *, limit: int = 50) -> Sequence[Conversation]:
        """Return the conversations, the latest used first."""
        counted = select(func.count()).where(turns.c.conversation_id == conversations.c.id).scalar_subquery()
        wanted = (
            select(conversations, counted.label("turns"))
            .where(conversations.c.tenant == tenant, conversations.c.updated_at >= self._oldest())
            .order_by(conversations.c.updated_at.desc(), conversations.c.id)
            .limit(limit)
        )
        with _translated(), self._engine.connect() as connection:
            rows = connection.execute(wanted).all()
        return [Conversation(row.id, row.title, row.created_at, row.updated_at, row.turns) for row in rows]

    def turns(self, tenant: str, conversation_id: str) -> Sequence[SavedTurn]:
        """Return a conversation's turns, oldest first.

        Raises:
            NotFoundError: there is none, it is another tenant's, or it is too old.
        """
        wanted = select(turns).where(turns.c.conversation_id == conversation_id).order_by(turns.c.ordinal)
        with _translated(), self._engine.connect() as connection:
            self._find(connection, tenant, conversation_id)
            return [_saved(row) for row in connection.execute(wanted).all()]

    def append(self, tenant: str, conversation_id: str, question: str, written: Written) -> int:
        """Add a turn and return its ordinal, from 0.

        Raises:
            NotFoundError: it was deleted meanwhile.
        """
        sent = written.turn
        now = _now()
        row: dict[str, object] = {
            "conversation_id": conversation_id,
            "question": question,
            "answer": written.answer.text,
            "kind": written.answer.kind,
            "model": written.model,
            "citations": json.dumps([asdict(one) for one in written.answer.citations], ensure_ascii=False),
            "prompt": "" if sent is None else sent.user,
            "reply": "" if sent is None else sent.assistant,
            "passages": json.dumps(
                [] if sent is None else [asdict(one) for one in sent.passages], ensure_ascii=False
            ),
            "created_at": now,
            "evidence": evidence_of(written).model_dump_json(),
        }
        last = select(func.max(turns.c.ordinal)).where(turns.c.conversation_id == conversation_id)
        with _translated(), writing(self._engine).begin() as connection:
            found = self._find(connection, tenant, conversation_id)
            before = connection.scalar(last)
            ordinal = 0 if before is None else int(before) + 1
            connection.execute(insert(turns).values({**row, "ordinal": ordinal}))
            changes = {"updated_at": now, "title": found.title or question[:_TITLE_CHARS]}
            connection.execute(
                update(conversations).where(conversations.c.id == conversation_id).values(changes)
            )
        return ordinal

    def delete(self, tenant: str, conversation_id: str) -> None:
        """Delete a conversation with its turns.

        Raises:
            NotFoundError: as for :meth:`turns`.
        """
        with _translated(), writing(self._engine).begin() as connection:
            self._find(connection, tenant, conversation_id)
            connection.execute(delete(conversations).where(conversations.c.id == conversation_id))

    def expire(self) -> int:
        """Delete what nobody used for the configured days; returns how many.

        Called at the start, and from time to time when a conversation begins.
        """
        self._expired_at = monotonic()
        with _translated(), writing(self._engine).begin() as connection:
            old = delete(conversations).where(conversations.c.updated_at < self._oldest())
            return connection.execute(old).rowcount

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _find(self, connection: Any, tenant: str, conversation_id: str) -> Row[Any]:
        wanted = select(conversations).where(
            conversations.c.id == conversation_id,
            conversations.c.tenant == tenant,
            conversations.c.updated_at >= self._oldest(),
        )
        found: Row[Any] | None = connection.execute(wanted).first()
        if found is None:
            raise NotFoundError(f"no conversation {conversation_id!r}")
        return found

    def _oldest(self) -> str:
        return (datetime.now(UTC) - timedelta(days=self._days)).isoformat(timespec="milliseconds")


def said(saved: Sequence[SavedTurn]) -> tuple[Message, ...]:
    """Return the turns as they were said, for rewriting a follow-up question."""
    return tuple(
        message
        for turn in saved
        for message in (Message("user", turn.question), Message("assistant", turn.answer))
    )


def _prepare_schema(engine: Engine) -> None:
    """Make the tables, or give those of an earlier version the columns that came since.

    Such columns may be null, so the earlier version can go on with the file too.
    """
    with writing(engine).begin() as connection:  # two first starts at once: one changes, one finds
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            there = {column["name"] for column in inspect(connection).get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    kind = column.type.compile(engine.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")


def _passage(fields: dict[str, Any]) -> ContextPassage:
    """Return a passage from JSON, which has lists for tuples; earlier versions lack the last fields."""
    match, pages = fields.get("match"), fields.get("pages", ())
    known = {**fields, "match": None if match is None else tuple(match), "pages": tuple(map(tuple, pages))}
    return ContextPassage(**known)


def _evidence(row: Row[Any]) -> Evidence | None:
    if row.evidence is None:
        return None
    try:
        return Evidence.model_validate_json(row.evidence)
    except ValidationError as error:
        # The answer with its citations is worth showing without it.
        log.warning("evidence_unreadable conversation=%s fields=%d", row.conversation_id, error.error_count())
        return None


def _saved(row: Row[Any]) -> SavedTurn:
    passages = tuple(_passage(one) for one in json.loads(row.passages))
    return SavedTurn(
        question=row.question,
        answer=row.answer,
        kind=row.kind,
        model=row.model,
        citations=tuple(Citation(**one) for one in json.loads(row.citations)),
        created_at=row.created_at,
        sent=Turn(row.prompt, row.reply, passages) if row.prompt else None,
        evidence=_evidence(row),
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise CatalogError(f"the store of conversations failed: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
