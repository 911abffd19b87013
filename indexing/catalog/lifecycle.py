"""The ingest's second half: the catalogue's side of staged -> live -> retiring -> gone."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, delete, exists, func, select, text, update
from sqlalchemy.orm import aliased

from indexing.catalog.engine import snapshot, writing
from indexing.catalog.records import StoredDocument
from indexing.catalog.schema import blocks, documents, meta, source_documents, sources
from indexing.records import Sentence

AVERAGE_KEY = "sparse_average_length"

_d = documents.c
_b = blocks.c
_link = source_documents.c
_STORED = (
    _d.key,
    _d.tenant,
    _d.doc_id,
    _d.version,
    _d.state,
    _d.title,
    _d.source,
    _d.sentences,
    _d.terms,
    _d.embedded,
    _d.average,
    _d.metadata,
)
_HAS_LINK = exists().where(_link.tenant == _d.tenant, _link.doc_id == _d.doc_id)
_IS_KEPT = _HAS_LINK.where(_link.kept.is_(True))
_UNFINISHED = (_d.state == "staged") | ((_d.state == "live") & (_d.embedded < _d.sentences))

# Statements with named parameters, built once: building one takes SQLAlchemy
# several times as long as SQLite needs to carry it out.
_BLOCK = (_b.first_ordinal, _b.start, _b.text, _b.spans, _b.pages, _b.sections)
_BLOCKS_OF_ONE = (
    select(*_BLOCK)
    .where(_b.document == bindparam("key"))
    .where(_b.first_ordinal + _b.count > bindparam("start"))
    .order_by(_b.first_ordinal)
)
_BLOCKS_OF_MANY = (
    select(_b.document, *_BLOCK)
    .where(_b.document.in_(bindparam("keys", expanding=True)))
    .order_by(_b.document, _b.first_ordinal)
)
_SET = {
    column: update(documents).where(_d.key == bindparam("row")).values({column: bindparam("new")})
    for column in ("state", "terms", "embedded", "average", "source")
}
_IDENTITY = select(_d.tenant, _d.doc_id, _d.state).where(_d.key == bindparam("key"))
_RETIRE_LIVE = text(
    "UPDATE documents SET state = 'retiring' WHERE tenant = :tenant AND doc_id = :doc_id AND state = 'live'"
)
_SOURCES_OF = text("SELECT uri FROM source_documents WHERE tenant = :tenant AND doc_id = :doc_id")
_SOURCE_STATE = text("SELECT state FROM sources WHERE tenant = :tenant AND uri = :uri")
_SOURCE_LIVE = text("UPDATE sources SET state = 'live' WHERE tenant = :tenant AND uri = :uri")
_LEAVING = text("SELECT doc_id FROM source_documents WHERE tenant = :tenant AND uri = :uri AND NOT kept")
_DROP_LEAVING = text("DELETE FROM source_documents WHERE tenant = :tenant AND uri = :uri AND NOT kept")
_RETIRE_ORPHAN = text("""
UPDATE documents SET state = 'retiring'
WHERE tenant = :tenant AND doc_id = :doc_id AND state IN ('staged', 'live') AND NOT EXISTS (
  SELECT 1 FROM source_documents l WHERE l.tenant = :tenant AND l.doc_id = :doc_id)
""")
_REPLACED = text("""
WITH changed(tenant, uri) AS (
  SELECT tenant, uri FROM source_documents GROUP BY tenant, uri HAVING sum(NOT kept) > 0 AND count(*) <= 16)
SELECT s.key, o.key FROM documents s
JOIN documents o ON o.tenant = s.tenant AND o.doc_id = s.doc_id AND o.state = 'live' AND o.embedded > 0
WHERE s.state = 'staged'
UNION
SELECT s.key, o.key FROM changed c
CROSS JOIN source_documents a ON a.tenant = c.tenant AND a.uri = c.uri AND a.kept
CROSS JOIN documents s ON s.tenant = a.tenant AND s.doc_id = a.doc_id AND s.state = 'staged'
CROSS JOIN source_documents b ON b.tenant = c.tenant AND b.uri = c.uri AND NOT b.kept
CROSS JOIN documents o
  ON o.tenant = b.tenant AND o.doc_id = b.doc_id AND o.state = 'live' AND o.embedded > 0
ORDER BY 1, 2
""")
# Backwards: documents become live in the order of their ids, so one that still
# waits is found at the first look.  CROSS JOIN keeps SQLite from starting at all
# staged documents, which made a run's cost grow with the square of their number.
_WAITING = text("""
SELECT 1 FROM source_documents l
CROSS JOIN documents d ON d.tenant = l.tenant AND d.doc_id = l.doc_id AND d.state = 'staged'
WHERE l.tenant = :tenant AND l.uri = :uri AND l.kept
ORDER BY l.doc_id DESC LIMIT 1
""")


class Lengths(NamedTuple):
    """What the average sparse length is taken over: all that will be live."""

    sentences: int
    terms: int
    embedded: int


class Lifecycle:
    """Reads and writes of the settling phase; the caller holds the writer lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._snapshot = snapshot(engine)
        self._writing = writing(engine)

    def _stored(self, *where: Any, limit: int | None = None) -> list[StoredDocument]:
        query = select(*_STORED).where(*where).order_by(_d.tenant, _d.doc_id, _d.version).limit(limit)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def unmeasured(self) -> list[StoredDocument]:
        """Documents whose sparse terms have not been counted."""
        return self._stored(_d.state.in_(("staged", "live")), _d.terms.is_(None))

    def set_terms(self, terms: Mapping[int, int]) -> None:
        """Store the term counts by document key."""
        self._set("terms", terms)

    def lengths(self) -> Lengths:
        """Sums over the documents that will be live once this run has ended."""
        other = aliased(documents)
        replaced = exists().where(
            _d.state == "live",
            other.c.tenant == _d.tenant,
            other.c.doc_id == _d.doc_id,
            other.c.state == "staged",
        )
        query = select(
            func.coalesce(func.sum(_d.sentences), 0),
            func.coalesce(func.sum(_d.terms), 0),
            func.coalesce(func.sum(_d.embedded), 0),
        ).where(_d.state.in_(("staged", "live")), _IS_KEPT, ~replaced)
        with self._engine.connect() as connection:
            row = connection.execute(query).one()
        return Lengths(int(row[0]), int(row[1]), int(row[2]))

    def to_embed(self) -> list[StoredDocument]:
        """Documents with sentences that the collection has not acknowledged."""
        return self._stored(_UNFINISHED, _IS_KEPT)

    def begin_embedding(self, plans: Mapping[int, tuple[str, float | None]]) -> None:
        """Note each document's first source and average before its first point is written."""
        statement = update(documents).where(_d.key == bindparam("row"))
        statement = statement.values(
            source=bindparam("new_source"), average=bindparam("new_average"), embedded=0
        )
        rows: list[dict[str, object]] = [
            {"row": key, "new_source": source, "new_average": average}
            for key, (source, average) in plans.items()
        ]
        self._many(statement, rows)

    def first_sources(self, tenant: str) -> dict[str, str]:
        """The source that a document's points name, by id, for documents to embed."""
        query = (
            select(_link.doc_id, func.min(_link.uri))
            .join(documents, (_d.tenant == _link.tenant) & (_d.doc_id == _link.doc_id))
            .where(_link.tenant == tenant, _link.kept.is_(True), _UNFINISHED)
            .group_by(_link.doc_id)
        )
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def replaced(self) -> dict[int, list[int]]:
        """By key of a staged document: the live ones it replaces.

        They have the same id, or they leave one of its sources; of sources with
        many documents only the former count.
        """
        pairs: dict[int, list[int]] = {}
        with self._engine.connect() as connection:
            for new, old in connection.execute(_REPLACED):
                pairs.setdefault(new, []).append(old)
        return pairs

    def by_keys(self, keys: Sequence[int]) -> list[StoredDocument]:
        return self._stored(_d.key.in_(keys))

    def small_texts(self, keys: Sequence[int]) -> dict[int, tuple[str, list[Sentence]]]:
        """Beginning and sentences of several short documents, by key, in one query."""
        texts: dict[int, tuple[str, list[Sentence]]] = {}
        with self._engine.connect() as connection:
            for key, *block in connection.execute(_BLOCKS_OF_MANY, {"keys": list(keys)}):
                texts.setdefault(key, (block[2], []))[1].extend(unpack(*block))
        return texts

    def sentences(self, key: int, start: int = 0) -> Iterator[Sentence]:
        """A document's sentences from ordinal ``start``, one block at a time."""
        with self._snapshot.connect() as connection:
            rows = connection.execution_options(yield_per=16).execute(
                _BLOCKS_OF_ONE, {"key": key, "start": start}
            )
            for row in rows:
                for sentence in unpack(*row):
                    if sentence.ordinal >= start:
                        yield sentence

    def opening(self, key: int) -> str:
        """The beginning of a document's text: its first block."""
        with self._engine.connect() as connection:
            row = connection.execute(_BLOCKS_OF_ONE.limit(1), {"key": key, "start": 0}).first()
        return row.text if row is not None else ""

    def record(self, embedded: Mapping[int, int], finished: Sequence[int]) -> int:
        """Note acknowledged sentences and make ``finished`` documents live.

        In the same transaction a finished document's older version starts to
        retire, and each of its sources whose documents are now all live lets go
        of those it no longer holds.  Returns how many became live.
        """
        with self._writing.begin() as connection:
            _set(connection, "embedded", embedded)
            touched: set[tuple[str, str]] = set()
            live = 0
            for key in finished:
                uris = _make_live(connection, key)
                if uris is not None:
                    touched |= uris
                    live += 1
            _commit_ready(connection, sorted(touched))
            return live

    def commit_sources(self) -> None:
        """Let go of what fully read sources no longer hold, and retire documents without a source."""
        with self._writing.begin() as connection:
            staged = select(sources.c.tenant, sources.c.uri).where(sources.c.state == "staged")
            _commit_ready(connection, connection.execute(staged).all())
            connection.execute(
                update(documents).where(_d.state.in_(("staged", "live")), ~_HAS_LINK).values(state="retiring")
            )

    def retiring(self) -> list[StoredDocument]:
        return self._stored(_d.state == "retiring")

    def drop(self, keys: Sequence[int]) -> None:
        """Delete the rows and text of retiring documents whose points are gone."""
        with self._writing.begin() as connection:
            for key in keys:
                connection.execute(delete(documents).where(_d.key == key, _d.state == "retiring"))

    def other_average(self, average: float) -> list[StoredDocument]:
        """Live documents whose sparse vectors were made with another average."""
        return self._stored(_d.state == "live", _d.average.is_not(None), _d.average != average)

    def set_average(self, average: float | None) -> None:
        with self._writing.begin() as connection:
            connection.execute(delete(meta).where(meta.c.key == AVERAGE_KEY))
            if average is not None:
                connection.execute(meta.insert().values(key=AVERAGE_KEY, value=repr(average)))

    def forget_averages(self) -> None:
        """Have every live document's sparse vectors made again."""
        with self._writing.begin() as connection:
            connection.execute(update(documents).where(_d.state == "live").values(average=0.0))

    def set_document_averages(self, averages: Mapping[int, float]) -> None:
        self._set("average", averages)

    def other_source(self) -> list[tuple[StoredDocument, str]]:
        """Live documents whose points name a source that is not their first any more."""
        first = (
            select(func.min(_link.uri))
            .where(_link.tenant == _d.tenant, _link.doc_id == _d.doc_id, _link.kept.is_(True))
            .scalar_subquery()
        )
        query = select(*_STORED, first).where(_d.state == "live", _d.source != first)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_d.tenant, _d.doc_id)).all()
        return [(_stored(row[:-1]), str(row[-1])) for row in rows]

    def set_source(self, key: int, source: str) -> None:
        self._set("source", {key: source})

    def live(self) -> list[StoredDocument]:
        return self._stored(_d.state == "live")

    def embed_again(self, keys: Sequence[int] | None) -> None:
        """Forget that these documents (None: all) have points; with None, their terms as well."""
        if keys is not None:
            self._set("embedded", dict.fromkeys(keys, 0))
            return
        with self._writing.begin() as connection:
            connection.execute(update(documents).values(embedded=0, average=None, terms=None))
            connection.execute(delete(meta).where(meta.c.key == AVERAGE_KEY))

    def _set(self, column: str, values: Mapping[int, object]) -> None:
        if values:
            with self._writing.begin() as connection:
                _set(connection, column, values)

    def _many(self, statement: Any, rows: list[dict[str, object]]) -> None:
        if rows:
            with self._writing.begin() as connection:
                connection.execute(statement, rows)


def _stored(row: Sequence[Any]) -> StoredDocument:
    return StoredDocument(*row)


def unpack(
    first_ordinal: int, start: int, text: str, spans: bytes, pages: bytes | None, sections: list[list[Any]]
) -> Iterator[Sentence]:
    """The sentences of one stored block."""
    offsets = array("i", spans)
    numbers = array("i", pages) if pages is not None else None
    names = (name for name, count in sections for _ in range(count))
    for i, section in enumerate(names):
        begin, end = offsets[2 * i], offsets[2 * i + 1]
        yield Sentence(
            ordinal=first_ordinal + i,
            start=begin,
            end=end,
            text=text[begin - start : end - start],
            section=section,
            page=(numbers[i] or None) if numbers is not None else None,
        )


def _set(connection: Connection, column: str, values: Mapping[int, object]) -> None:
    if values:
        rows = [{"row": key, "new": value} for key, value in values.items()]
        connection.execute(_SET[column], rows)


def _make_live(connection: Connection, key: int) -> set[tuple[str, str]] | None:
    """Flip one document and return its sources; None when it was deleted meanwhile."""
    row = connection.execute(_IDENTITY, {"key": key}).one_or_none()
    if row is None or row.state != "staged":
        return None
    names = {"tenant": row.tenant, "doc_id": row.doc_id}
    connection.execute(_RETIRE_LIVE, names)
    connection.execute(_SET["state"], {"row": key, "new": "live"})
    return {(row.tenant, uri) for uri in connection.scalars(_SOURCES_OF, names)}


def _commit_ready(connection: Connection, candidates: Iterable[Sequence[str]]) -> None:
    """Commit those sources that were read to their end and wait for no document."""
    for tenant, uri in candidates:
        names = {"tenant": tenant, "uri": uri}
        if connection.scalar(_SOURCE_STATE, names) != "staged":
            continue
        if connection.scalar(_WAITING, names) is None:
            _commit_source(connection, names)


def _commit_source(connection: Connection, names: dict[str, str]) -> None:
    leaving = connection.scalars(_LEAVING, names).all()
    connection.execute(_SOURCE_LIVE, names)
    if leaving:
        connection.execute(_DROP_LEAVING, names)
        tenant = names["tenant"]
        connection.execute(_RETIRE_ORPHAN, [{"tenant": tenant, "doc_id": doc_id} for doc_id in leaving])
