"""The ingest's first half: what was read from sources, written in batches.

A batch of steps is one short transaction.  Nothing here touches a live
document: a new version is stored beside it as ``staged``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, bindparam, delete, exists, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from indexing.catalog.engine import writing
from indexing.catalog.records import NewDocument, SourceRecord
from indexing.catalog.schema import blocks, documents, source_documents, sources
from indexing.identity import point_prefix


@dataclass(frozen=True, slots=True)
class BeginSource:
    """The documents of ``uri`` follow; those that do not come again will leave."""

    uri: str


@dataclass(frozen=True, slots=True)
class AddDocument:
    uri: str
    document: NewDocument
    digest: str


@dataclass(frozen=True, slots=True)
class FinishSource:
    """``uri`` was read to its end, or up to ``error``.

    ``complete`` False: it was not read to its end, so its earlier documents stay.
    """

    uri: str
    sha256: str
    size: int
    media_type: str
    digest: str
    error: str = ""
    complete: bool = True


@dataclass(frozen=True, slots=True)
class LinkTwin:
    """``uri`` has the bytes of ``twin``: the same documents, one more source."""

    uri: str
    twin: str


Step = BeginSource | AddDocument | FinishSource | LinkTwin


@dataclass(frozen=True, slots=True)
class Conflict:
    """``doc_id`` in ``uri`` was refused: ``other`` gives the same id other content."""

    uri: str
    doc_id: str
    other: str

    def __str__(self) -> str:
        where = "earlier in the same file" if self.other == self.uri else f"in {self.other}"
        return (
            f"doc_id {self.doc_id!r} is also {where} with other content; "
            f"to replace it, delete that document first"
        )


def summary(conflicts: Sequence[Conflict]) -> str:
    """The first conflict in words, and how many more there are; "" for none."""
    if not conflicts:
        return ""
    more = f" (and {len(conflicts) - 1} more documents)" if len(conflicts) > 1 else ""
    return f"{conflicts[0]}{more}"


class Staging:
    """Writes of one ingest run; the caller holds the writer lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def sources(self, tenant: str) -> dict[str, SourceRecord]:
        """Return every source of the tenant by its URI."""
        c = sources.c
        columns = (c.uri, c.state, c.sha256, c.size, c.media_type, c.digest, c.error)
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).where(c.tenant == tenant).order_by(c.uri))
            return {row.uri: SourceRecord(*row) for row in rows}

    def mark_pending(self, tenant: str, uris: Sequence[str]) -> None:
        """Note that these sources are about to be read (again)."""
        if not uris:
            return
        blank = {"sha256": "", "size": 0, "media_type": "", "digest": "", "error": ""}
        statement = upsert(sources).on_conflict_do_update(
            index_elements=[sources.c.tenant, sources.c.uri], set_={"state": "pending"}
        )
        with self._writing.begin() as connection:
            connection.execute(
                statement, [{"tenant": tenant, "uri": uri, "state": "pending", **blank} for uri in uris]
            )

    def apply(
        self,
        tenant: str,
        steps: Iterable[Step],
        refused: dict[str, list[Conflict]],
        ingested_by: str | None = None,
    ) -> None:
        """Carry out ``steps`` in one transaction, on behalf of the key that ``ingested_by`` names.

        Documents that conflict with another source are left out and added to
        ``refused``, by URI; their source's end then records the first as its error.
        """
        with self._writing.begin() as connection:
            for step in steps:
                if isinstance(step, AddDocument):
                    other = _conflict(connection, tenant, step)
                    if other is not None:
                        conflict = Conflict(step.uri, step.document.doc_id, other)
                        refused.setdefault(step.uri, []).append(conflict)
                        continue
                    _store(connection, tenant, step.document, ingested_by)
                    _link(connection, tenant, step.uri, [step.document.doc_id])
                elif isinstance(step, BeginSource):
                    _keep_all(connection, tenant, step.uri, False)
                elif isinstance(step, LinkTwin):
                    _link(connection, tenant, step.uri, _kept(connection, tenant, step.twin))
                else:
                    _finish(connection, tenant, step, refused.get(step.uri, ()))

    def remove_sources(self, tenant: str, uris: Sequence[str]) -> None:
        """Forget sources; documents that no other source holds are retired later."""
        with self._writing.begin() as connection:
            for table in (source_documents, sources):
                statement = delete(table).where(table.c.tenant == tenant, table.c.uri == bindparam("gone"))
                for uri in uris:
                    connection.execute(statement, {"gone": uri})

    def forget_document(self, tenant: str, doc_id: str) -> bool:
        """Retire every version of a document and drop its links; False when there is none.

        A source that still has other documents is read again by the next run
        that names it.
        """
        d, link = documents.c, source_documents.c
        with self._writing.begin() as connection:
            mine = (link.tenant == tenant, link.doc_id == doc_id)
            uris = connection.scalars(select(link.uri).where(*mine)).all()
            retired = connection.execute(
                update(documents)
                .where(d.tenant == tenant, d.doc_id == doc_id, d.state != "retiring")
                .values(state="retiring")
            )
            connection.execute(delete(source_documents).where(*mine))
            for uri in uris:
                here = (sources.c.tenant == tenant, sources.c.uri == uri)
                if _any_link(connection, tenant, uri):
                    connection.execute(update(sources).where(*here).values(sha256=""))
                else:
                    connection.execute(delete(sources).where(*here))
            return retired.rowcount > 0


# Statements with named parameters, built once: see lifecycle.py.
_HOLDERS = text("""
SELECT l.uri, s.state, s.digest FROM source_documents l
JOIN sources s ON s.tenant = l.tenant AND s.uri = l.uri
WHERE l.tenant = :tenant AND l.doc_id = :doc_id AND l.kept ORDER BY l.uri
""")
# "staged" sorts behind "live": the version to come, when there is one.
_CURRENT_VERSION = text("""
SELECT version FROM documents
WHERE tenant = :tenant AND doc_id = :doc_id AND state IN ('staged', 'live') ORDER BY state DESC
""")
_VERSIONS = text("SELECT key, version, state FROM documents WHERE tenant = :tenant AND doc_id = :doc_id")
_RETIRE = text("UPDATE documents SET state = 'retiring' WHERE key = :row")
_STAGE_AGAIN = text(
    "UPDATE documents SET state = 'staged', embedded = 0, average = NULL, ingested_by = :by WHERE key = :row"
)
_INSERT_DOCUMENT = insert(documents).returning(documents.c.key)
_INSERT_BLOCK = insert(blocks)
_LINK = upsert(source_documents).on_conflict_do_update(
    index_elements=["tenant", "uri", "doc_id"], set_={"kept": True}
)
_KEEP_ALL = text("UPDATE source_documents SET kept = :kept WHERE tenant = :tenant AND uri = :uri")
_FINISH = update(sources).where(
    sources.c.tenant == bindparam("its_tenant"), sources.c.uri == bindparam("its_uri")
)


def _any_link(connection: Connection, tenant: str, uri: str) -> bool:
    link = source_documents.c
    return bool(connection.scalar(select(exists().where(link.tenant == tenant, link.uri == uri))))


def _conflict(connection: Connection, tenant: str, step: AddDocument) -> str | None:
    """The source that holds this doc_id with other content, if any.

    A source that is still to be read again in this run, or that an older
    pipeline read, is no obstacle: it will say itself what it holds now.
    """
    if not step.document.explicit:
        return None
    names = {"tenant": tenant, "doc_id": step.document.doc_id}
    holders = [
        row.uri
        for row in connection.execute(_HOLDERS, names)
        if row.uri == step.uri or (row.state != "pending" and row.digest == step.digest)
    ]
    if not holders:
        return None
    current = connection.execute(_CURRENT_VERSION, names).scalar()
    if current is None or current == step.document.version:
        return None
    return str(holders[0])


def _store(connection: Connection, tenant: str, document: NewDocument, by: str | None) -> None:
    """Store a version; one that is there stays whose it is, for the same content again is no news."""
    rows = connection.execute(_VERSIONS, {"tenant": tenant, "doc_id": document.doc_id}).all()
    for row in rows:
        if row.version != document.version and row.state == "staged":
            connection.execute(_RETIRE, {"row": row.key})
    for row in rows:
        if row.version == document.version:
            if row.state == "retiring":
                connection.execute(_STAGE_AGAIN, {"row": row.key, "by": by})
            return
    values = {
        "tenant": tenant,
        "doc_id": document.doc_id,
        "version": document.version,
        "state": "staged",
        "title": document.title,
        "media_type": document.media_type,
        "source": "",
        "sentences": document.sentences,
        "chars": document.chars,
        "embedded": 0,
        "metadata": dict(document.metadata),
        "indexed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ingested_by": by,
        "points": point_prefix(tenant, document.doc_id, document.version),
    }
    key = connection.scalar(_INSERT_DOCUMENT, values)
    rows_of_blocks = [
        {
            "document": key,
            "first_ordinal": block.first_ordinal,
            "count": block.count,
            "start": block.start,
            "end": block.end,
            "text": block.text,
            "spans": block.spans,
            "pages": block.pages,
            "sections": [list(run) for run in block.sections],
        }
        for block in document.blocks
    ]
    connection.execute(_INSERT_BLOCK, rows_of_blocks)


def _link(connection: Connection, tenant: str, uri: str, doc_ids: Sequence[str]) -> None:
    rows = [{"tenant": tenant, "uri": uri, "doc_id": doc_id, "kept": True} for doc_id in doc_ids]
    if rows:
        connection.execute(_LINK, rows)


def _kept(connection: Connection, tenant: str, uri: str) -> Sequence[str]:
    link = source_documents.c
    query = select(link.doc_id).where(link.tenant == tenant, link.uri == uri, link.kept.is_(True))
    return connection.scalars(query.order_by(link.doc_id)).all()


def _keep_all(connection: Connection, tenant: str, uri: str, kept: bool) -> None:
    connection.execute(_KEEP_ALL, {"tenant": tenant, "uri": uri, "kept": kept})


def _finish(connection: Connection, tenant: str, step: FinishSource, conflicts: Sequence[Conflict]) -> None:
    if not step.complete:
        _keep_all(connection, tenant, step.uri, True)
    values = {
        "its_tenant": tenant,
        "its_uri": step.uri,
        "state": "staged" if step.complete else "failed",
        "sha256": step.sha256,
        "size": step.size,
        "media_type": step.media_type,
        "digest": step.digest,
        "error": step.error or summary(conflicts),
    }
    connection.execute(_FINISH, values)
