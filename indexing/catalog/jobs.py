"""Background jobs as durable rows: what a restart finds again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, insert, select, update

from indexing.catalog.engine import writing
from indexing.catalog.records import JobRecord, JobState
from indexing.catalog.schema import jobs
from indexing.errors import NotFoundError

_j = jobs.c
_FIELDS = (
    _j.id,
    _j.tenant,
    _j.kind,
    _j.state,
    _j.total,
    _j.done,
    _j.failed,
    _j.sentences,
    _j.errors,
    _j.created_at,
    _j.updated_at,
    _j.message,
)


class JobTable:
    """The queue; at most one process works on it, the holder of the writer lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def create(
        self, tenant: str, kind: str, payload: Mapping[str, object], total: int, job_id: str | None
    ) -> JobRecord:
        now = _now()
        chosen = job_id or uuid.uuid4().hex
        record = JobRecord(chosen, tenant, kind, "queued", total, 0, 0, 0, (), now, now, "")
        values = {name: getattr(record, name) for name in (column.name for column in _FIELDS)}
        with self._writing.begin() as connection:
            connection.execute(insert(jobs), {**values, "errors": [], "payload": dict(payload)})
        return record

    def get(self, tenant: str, job_id: str) -> JobRecord:
        with self._engine.connect() as connection:
            row = connection.execute(
                select(*_FIELDS).where(_j.tenant == tenant, _j.id == job_id)
            ).one_or_none()
        if row is None:
            raise NotFoundError(f"no job {job_id!r}")
        return _record(row)

    def list(self, tenant: str, limit: int) -> list[JobRecord]:
        """The tenant's jobs, newest first."""
        query = select(*_FIELDS).where(_j.tenant == tenant).order_by(_j.number.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query)]

    def states(self, limit: int) -> Sequence[str]:
        """The states of the newest jobs of all tenants."""
        query = select(_j.state).order_by(_j.number.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [str(state) for state in connection.scalars(query)]

    def unfinished(self) -> bool:
        """Whether a job is queued, or was left running by a process that died."""
        query = select(_j.id).where(_j.state.in_(("queued", "running"))).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def claim(self) -> tuple[JobRecord, Mapping[str, Any]] | None:
        """Take the oldest unfinished job and its payload; None when there is none.

        The caller holds the writer lock, which the system takes from a dead
        process: a job found ``running`` here has nobody working on it.
        """
        query = select(*_FIELDS, _j.payload).where(_j.state.in_(("queued", "running")))
        with self._writing.begin() as connection:
            row = connection.execute(query.order_by(_j.number).limit(1)).one_or_none()
            if row is None:
                return None
            connection.execute(update(jobs).where(_j.id == row.id).values(state="running", updated_at=_now()))
        return _record(row[:-1]), row[-1]

    def update(
        self,
        job_id: str,
        *,
        state: JobState,
        done: int,
        failed: int,
        sentences: int,
        errors: Sequence[tuple[str, str]],
        message: str = "",
        total: int | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        values: dict[str, object] = {
            "state": state,
            "done": done,
            "failed": failed,
            "sentences": sentences,
            "errors": [[source, reason, (kinds or {}).get(source)] for source, reason in errors],
            "message": message,
            "updated_at": _now(),
        }
        if total is not None:
            values["total"] = total
        with self._writing.begin() as connection:
            connection.execute(update(jobs).where(_j.id == job_id).values(values))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _record(row: Any) -> JobRecord:
    fields = list(row)
    errors = fields[8]
    fields[8] = tuple((source, reason) for source, reason, *_ in errors)
    # Jobs of an older Winnow have no kinds.
    kinds = tuple(kind[0] if kind else None for _, _, *kind in errors)
    return replace(JobRecord(*fields), error_kinds=kinds)
