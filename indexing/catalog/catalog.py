"""The catalogue: which documents there are, their text, their sources, and jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from threading import Lock
from typing import Any

from sqlalchemy import Engine, Row, func, select

from indexing.catalog.engine import open_engine, snapshot
from indexing.catalog.generations import GenerationTable
from indexing.catalog.jobs import JobTable
from indexing.catalog.lifecycle import Lifecycle, unpack
from indexing.catalog.read_ahead import ReadAhead
from indexing.catalog.records import DocumentRecord, JobRecord, SourceRecord, Totals, Window
from indexing.catalog.schema import blocks, documents, meta, source_documents, sources
from indexing.catalog.staging import Staging
from indexing.catalog.windows import SEPARATOR, read_windows
from indexing.errors import NotFoundError
from indexing.records import Sentence
from indexing.settings import Settings

# SQLite takes 32,766 parameters in a statement.
_URIS_PER_QUERY = 1000

_d = documents.c
_b = blocks.c
_URIS = (
    select(func.group_concat(source_documents.c.uri, SEPARATOR))
    .where(source_documents.c.tenant == _d.tenant, source_documents.c.doc_id == _d.doc_id)
    .scalar_subquery()
)
_FIELDS = (
    _d.tenant,
    _d.doc_id,
    _d.version,
    _d.title,
    _d.media_type,
    _d.sentences,
    _d.chars,
    _URIS,
    _d.metadata,
    _d.indexed_at,
    _d.ingested_by,
)


class Catalog:
    """Reads for everyone; ``staging`` and ``lifecycle`` are the ingest's writes.

    Thread-safe: every call takes its own connection from the pool.  Only live
    documents are seen here.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = self._engine = engine
        self._snapshot = snapshot(engine)
        self.staging = Staging(engine)
        self.lifecycle = Lifecycle(engine)
        self.generations = GenerationTable(engine)
        self.job_table = JobTable(engine)
        self._read_ahead: ReadAhead | None = None
        self._starting = Lock()

    def document(self, tenant: str, doc_id: str) -> DocumentRecord:
        """Return one document.

        Raises:
            NotFoundError: the tenant has no searchable document of this id.
        """
        query = select(*_FIELDS).where(_d.tenant == tenant, _d.doc_id == doc_id, _d.state == "live")
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFoundError(f"no document {doc_id!r}")
        return _record(row)

    def documents(self, tenant: str, *, limit: int = 100, after: str | None = None) -> list[DocumentRecord]:
        """Return documents ordered by ``doc_id``, those behind ``after``."""
        query = select(*_FIELDS).where(_d.tenant == tenant, _d.state == "live")
        if after is not None:
            query = query.where(_d.doc_id > after)
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query.order_by(_d.doc_id).limit(limit))]

    def count_documents(self, tenant: str | None) -> int:
        """Count one tenant's searchable documents; None: everybody's, for operators."""
        query = select(func.count()).where(_d.state == "live")
        if tenant is not None:
            query = query.where(_d.tenant == tenant)
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def text(self, tenant: str, doc_id: str, start: int | None = None, end: int | None = None) -> str:
        """Return the extracted text from ``start`` to ``end``, character offsets.

        Raises:
            NotFoundError: the tenant has no searchable document of this id.
        """
        with self._snapshot.connect() as connection:
            key, chars = self._live(connection, tenant, doc_id)
            # Within the text, so that a number of any size fits the database's 64 bits.
            low = min(max(start or 0, 0), chars)
            high = chars if end is None else min(max(end, 0), chars)
            query = select(_b.start, _b.text).where(_b.document == key, _b.end > low, _b.start < high)
            rows = connection.execute(query.order_by(_b.first_ordinal, _b.start)).all()
        if not rows:
            return ""
        base = rows[0].start
        return "".join(row.text for row in rows)[low - base : high - base]

    def sentences(self, tenant: str, doc_id: str) -> list[Sentence]:
        """Return every sentence of a document.

        Raises:
            NotFoundError: the tenant has no searchable document of this id.
        """
        columns = (_b.first_ordinal, _b.start, _b.text, _b.spans, _b.pages, _b.sections)
        with self._snapshot.connect() as connection:
            key, _ = self._live(connection, tenant, doc_id)
            query = select(*columns).where(_b.document == key).order_by(_b.first_ordinal)
            return [sentence for row in connection.execute(query) for sentence in unpack(*row)]

    def _live(self, connection: Any, tenant: str, doc_id: str) -> tuple[int, int]:
        query = select(_d.key, _d.chars).where(_d.tenant == tenant, _d.doc_id == doc_id, _d.state == "live")
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFoundError(f"no document {doc_id!r}")
        return int(row.key), int(row.chars)

    def windows(self, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
        """Return, for each of these points' ids, its sentence and ``size`` more to each side.

        None: the tenant has no such sentence, or its version is not live (it
        is being replaced, or was deleted).  One statement for all points.
        """
        if not points:
            return []
        self._start_read_ahead()
        with closing(self._engine.raw_connection()) as connection:
            return read_windows(connection.cursor(), tenant, points, size)

    def _start_read_ahead(self) -> None:
        """Who reads one window will read more, from all over the catalogue."""
        if self._read_ahead is None:
            with self._starting:  # several threads may read the first window
                if self._read_ahead is None:
                    self._read_ahead = ReadAhead(self._engine)

    def sources(self, tenant: str) -> dict[str, SourceRecord]:
        """Return every file or upload that was read, failed ones included, by URI."""
        return self.staging.sources(tenant)

    def count_sources(self, tenant: str, uris: Sequence[str]) -> tuple[int, list[tuple[str, str]], int]:
        """Of these sources: how many are searchable, the failed ones with reasons, their sentences."""
        live, sentences = 0, 0
        failures: list[tuple[str, str]] = []
        s, link = sources.c, source_documents.c
        with self._snapshot.connect() as connection:
            for start in range(0, len(uris), _URIS_PER_QUERY):
                part = uris[start : start + _URIS_PER_QUERY]
                here = (s.tenant == tenant, s.uri.in_(part))
                for row in connection.execute(select(s.uri, s.state, s.error).where(*here)):
                    if row.error:
                        failures.append((row.uri, row.error))
                    elif row.state == "live":
                        live += 1
                held = select(link.doc_id).where(link.tenant == tenant, link.uri.in_(part))
                total = select(func.sum(_d.sentences)).where(
                    _d.tenant == tenant, _d.state == "live", _d.doc_id.in_(held)
                )
                sentences += int(connection.scalar(total) or 0)
        return live, failures, sentences

    def totals(self, tenant: str | None = None) -> Totals:
        """Counts of one tenant, or over all of them."""
        of_documents = [_d.tenant == tenant] if tenant is not None else []
        of_sources = [sources.c.tenant == tenant] if tenant is not None else []
        counts = select(
            func.count(),
            func.coalesce(func.sum(_d.sentences), 0),
            func.coalesce(func.sum(_d.chars), 0),
        ).where(*of_documents)
        with self._snapshot.connect() as connection:
            live = connection.execute(counts.where(_d.state == "live")).one()
            staged = connection.scalar(
                select(func.count()).select_from(documents).where(*of_documents, _d.state == "staged")
            )
            retiring = connection.scalar(
                select(func.count()).select_from(documents).where(*of_documents, _d.state == "retiring")
            )
            found = connection.scalar(select(func.count()).select_from(sources).where(*of_sources))
            failed = connection.scalar(
                select(func.count()).select_from(sources).where(*of_sources, sources.c.error != "")
            )
        numbers = (*live, staged, retiring, found, failed)
        return Totals(*(int(number or 0) for number in numbers))

    def tenants(self) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(select(_d.tenant).distinct().order_by(_d.tenant)))

    def meta(self, key: str) -> str | None:
        """Return a stored value, such as ``sparse_average_length``."""
        with self._engine.connect() as connection:
            value = connection.scalar(select(meta.c.value).where(meta.c.key == key))
        return None if value is None else str(value)

    def revision(self, tenant: str) -> int:
        """Return a count that moves with every change of what this tenant can find."""
        return int(self.meta(f"revision:{tenant}") or 0)

    def create_job(
        self,
        tenant: str,
        kind: str,
        payload: Mapping[str, object],
        *,
        total: int = 0,
        job_id: str | None = None,
    ) -> JobRecord:
        """Queue a job.

        Write the uploaded bytes under ``HOME/uploads/<job_id>/`` before: a
        runner may take the job at once.
        """
        return self.job_table.create(tenant, kind, payload, total, job_id)

    def job(self, tenant: str, job_id: str) -> JobRecord:
        """Return one job.

        Raises:
            NotFoundError: the tenant has no job of this id.
        """
        return self.job_table.get(tenant, job_id)

    def jobs(self, tenant: str, limit: int = 50) -> list[JobRecord]:
        """Return the tenant's jobs, newest first."""
        return self.job_table.list(tenant, limit)

    def job_states(self, limit: int) -> Sequence[str]:
        """Return the states of the newest jobs of all tenants, for operators."""
        return self.job_table.states(limit)

    def unfinished_jobs(self) -> bool:
        """Whether any job is queued or was left running by a process that died."""
        return self.job_table.unfinished()

    def close(self) -> None:
        if self._read_ahead is not None:
            self._read_ahead.stop()
        self._engine.dispose()


def open_catalog(settings: Settings) -> Catalog:
    """Open, or create, the catalogue of ``settings.home`` (or ``settings.catalog.url``).

    Raises:
        CatalogError: it does not open, or a newer Winnow wrote it.
    """
    return Catalog(open_engine(settings.catalog.url, settings.home))


def _record(row: Row[*tuple[Any, ...]]) -> DocumentRecord:
    tenant, doc_id, version, title, media_type, sentences, chars, uris, fields, indexed_at, by = row
    return DocumentRecord(
        tenant=tenant,
        doc_id=doc_id,
        version=version,
        title=title,
        media_type=media_type,
        sentences=sentences,
        chars=chars,
        sources=tuple(sorted(uris.split(SEPARATOR))) if uris else (),
        metadata=fields,
        indexed_at=indexed_at,
        ingested_by=by,
    )
