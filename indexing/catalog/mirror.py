"""The settling phase's bookkeeping for the generation that is not served.

The same questions as :class:`indexing.catalog.lifecycle.Lifecycle` answers,
asked of the table ``mirrored``, so that the steps of ``indexing.ingest.settle``
work on either generation.  Only live documents are mirrored: one becomes
searchable in the served generation first.  An ingest leaves the queued ones
to the backfill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Engine, bindparam, func, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from indexing.catalog.catalog import Catalog
from indexing.catalog.lifecycle import AVERAGE_KEY, Lengths, Lifecycle
from indexing.catalog.records import StoredDocument
from indexing.catalog.schema import documents, generations, mirrored, source_documents

_d = documents.c
_m = mirrored.c
_link = source_documents.c
_SOURCE = func.coalesce(_m.source, "")
_EMBEDDED = func.coalesce(_m.embedded, 0)
_STORED = (
    _d.key,
    _d.tenant,
    _d.doc_id,
    _d.version,
    _d.state,
    _d.title,
    _SOURCE,
    _d.sentences,
    _m.terms,
    _EMBEDDED,
    _m.average,
    _d.metadata,
)
_JOINED = documents.outerjoin(mirrored, _m.document == _d.key)
_LIVE = _d.state == "live"
_OWED = _d.sentences > _EMBEDDED
_NOT_QUEUED = func.coalesce(_m.queued, False).is_(False)
_FIRST_SOURCE = (
    select(func.min(_link.uri))
    .where(_link.tenant == _d.tenant, _link.doc_id == _d.doc_id, _link.kept.is_(True))
    .scalar_subquery()
)
# A live document that is owed, and versions of it that are about to leave and have vectors here.
_REPLACED = text("""
SELECT n.key, o.key FROM documents n
LEFT JOIN mirrored m ON m.document = n.key
JOIN documents o ON o.tenant = n.tenant AND o.doc_id = n.doc_id AND o.state = 'retiring'
JOIN mirrored p ON p.document = o.key AND p.embedded > 0
WHERE n.state = 'live' AND coalesce(m.embedded, 0) < n.sentences
ORDER BY 1, 2
""")


class MirrorLifecycle(Lifecycle):
    """Reads and writes of one generation's progress.

    Args:
        number: the generation's.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        super().__init__(engine)
        self._number = number

    def _mirrored(self, *where: Any) -> list[StoredDocument]:
        query = select(*_STORED).select_from(_JOINED).where(_LIVE, *where).order_by(_d.tenant, _d.doc_id)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def backlog(self, wanted: Literal["measure", "embed"], after: int, limit: int) -> list[StoredDocument]:
        """Documents that were queued or are owed otherwise, by key, those behind ``after``.

        In steps by key, so that the work of a whole backfill grows with its
        documents and not with their square.
        """
        condition = _m.terms.is_(None) if wanted == "measure" else _OWED
        # Not the plain column: its index would be taken, and then all rows sorted by key.
        live = func.coalesce(_d.state, "") == "live"
        query = select(*_STORED).select_from(_JOINED).where(_d.key > after, live, condition)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_d.key).limit(limit))
            return [_stored(row) for row in rows]

    def served_sources(self, keys: Sequence[int]) -> dict[int, str]:
        """The source that documents' points name in the served generation, by key."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_d.key, _d.source).where(_d.key.in_(keys)))
            return {row[0]: row[1] for row in rows}

    def unmeasured(self) -> list[StoredDocument]:
        return self._mirrored(_m.terms.is_(None), _NOT_QUEUED)

    def to_embed(self) -> list[StoredDocument]:
        return self._mirrored(_OWED, _NOT_QUEUED)

    def lengths(self) -> Lengths:
        query = (
            select(
                func.coalesce(func.sum(_d.sentences), 0),
                func.coalesce(func.sum(_m.terms), 0),
                func.coalesce(func.sum(_m.embedded), 0),
            )
            .select_from(_JOINED)
            .where(_LIVE, _m.terms.is_not(None))
        )
        with self._engine.connect() as connection:
            return Lengths(*(int(number) for number in connection.execute(query).one()))

    def first_sources(self, tenant: str) -> dict[str, str]:
        query = select(_d.doc_id, func.coalesce(_FIRST_SOURCE, _d.source)).select_from(_JOINED)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(_LIVE, _d.tenant == tenant, _OWED))
            return {row[0]: row[1] for row in rows}

    def begin_embedding(self, plans: Mapping[int, tuple[str, float | None]]) -> None:
        self._store(
            ("source", "average", "embedded"),
            {key: (source, average, 0) for key, (source, average) in plans.items()},
        )

    def record(self, embedded: Mapping[int, int], finished: Sequence[int]) -> int:
        """Note acknowledged sentences; returns how many documents are complete now."""
        self._store(("embedded",), {key: (count,) for key, count in embedded.items()})
        return len(finished)

    def replaced(self) -> dict[int, list[int]]:
        pairs: dict[int, list[int]] = {}
        with self._engine.connect() as connection:
            for new, old in connection.execute(_REPLACED):
                pairs.setdefault(new, []).append(old)
        return pairs

    def other_average(self, average: float) -> list[StoredDocument]:
        return self._mirrored(_m.average.is_not(None), _m.average != average, ~_OWED)

    def other_source(self) -> list[tuple[StoredDocument, str]]:
        query = select(*_STORED, _FIRST_SOURCE).select_from(_JOINED)
        query = query.where(_LIVE, ~_OWED, _m.document.is_not(None), _SOURCE != _FIRST_SOURCE)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_d.tenant, _d.doc_id)).all()
        return [(_stored(row[:-1]), str(row[-1])) for row in rows]

    def live(self) -> list[StoredDocument]:
        return self._mirrored()

    def embed_again(self, keys: Sequence[int] | None) -> None:
        """Forget that these documents (None: all) have points; any run makes them again."""
        with self._writing.begin() as connection:
            if keys is None:
                connection.execute(update(mirrored).values(embedded=0, average=None, terms=None))
            elif keys:
                statement = update(mirrored).where(_m.document == bindparam("row"))
                statement = statement.values(embedded=0, queued=False)
                connection.execute(statement, [{"row": key} for key in keys])

    def forget_averages(self) -> None:
        with self._writing.begin() as connection:
            connection.execute(update(mirrored).values(average=0.0))

    def set_average(self, average: float | None) -> None:
        where = generations.c.number == self._number
        with self._writing.begin() as connection:
            connection.execute(update(generations).where(where).values(average=average))

    def _set(self, column: str, values: Mapping[int, object]) -> None:
        self._store((column,), {key: (value,) for key, value in values.items()})

    def _store(self, columns: tuple[str, ...], values: Mapping[int, tuple[object, ...]]) -> None:
        """Set columns of rows by document; a document that has left meanwhile is passed over."""
        if not values:
            return
        blank: dict[str, object] = {"queued": False, "source": "", "embedded": 0}
        there = select(
            _d.key,
            *(
                bindparam(name) if name in columns else bindparam(None, blank[name])
                for name in (*blank, *(name for name in columns if name not in blank))
            ),
        ).where(_d.key == bindparam("row"))
        names = ("document", *blank, *(name for name in columns if name not in blank))
        statement = upsert(mirrored).from_select(names, there)
        changed = {name: statement.excluded[name] for name in columns}
        statement = statement.on_conflict_do_update(index_elements=["document"], set_=changed)
        rows = [{"row": key, **dict(zip(columns, row, strict=True))} for key, row in values.items()]
        with self._writing.begin() as connection:
            connection.execute(statement, rows)


def _stored(row: Sequence[Any]) -> StoredDocument:
    return StoredDocument(*row)


class MirrorCatalog(Catalog):
    """A catalogue whose settling phase is that of the generation ``number``."""

    def __init__(self, engine: Engine, number: int) -> None:
        super().__init__(engine)
        self.number = number
        self.lifecycle: MirrorLifecycle = MirrorLifecycle(engine, number)

    def meta(self, key: str) -> str | None:
        """Return a stored value; the average length is this generation's own."""
        if key != AVERAGE_KEY:
            return super().meta(key)
        average = self.generations.average(self.number)
        return None if average is None else repr(average)
