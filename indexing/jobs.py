"""Background jobs: uploads and documents sent over HTTP, indexed by a process of their own.

A job's row is the only truth about it.  The runner holds the writer lock, so a
job that is found ``running`` was left by a process that died; it is simply run
again, and what it had indexed before is found unchanged.

Kinds and payloads::

    files      {"files": [{"path": "uploads/<job id>/0000/report.pdf", "name": "report.pdf"}]}
    documents  {"path": "uploads/<job id>/0000/documents.jsonl"}
    urls       {"urls": ["https://..."]}
    delete     {"doc_id": "..."}

The first three may also name the key that sent them, for the catalogue:
``{"ingested_by": "1f2e3d4c5b6a"}``.  Paths are relative to the home folder and stay below its ``uploads``.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.catalog.records import JobRecord, JobState
from indexing.errors import InputError, NotFoundError, ReadError, WinnowError, kind_of
from indexing.ingest import (
    FileItem,
    IngestReport,
    TextItem,
    add_files,
    add_texts,
    add_urls,
    delete_document,
    writing,
)
from indexing.ingest.report import Silent
from indexing.session import Index

logger = logging.getLogger(__name__)

_UPDATE_EVERY_S = 0.5


def run_jobs(index: Index) -> int:
    """Work off every unfinished job; return how many were finished.

    A job that fails is recorded as failed and the next one is taken.

    Raises:
        IngestBusyError: another process went on writing for too long.
    """
    count = 0
    with writing(index):
        while (claimed := index.catalog.job_table.claim()) is not None:
            job, payload = claimed
            index.checkpoint("job-claimed")
            started = time.monotonic()
            state = _run(index, job, payload)
            logger.info(
                "job_end id=%s kind=%s state=%s seconds=%.2f",
                job.id,
                job.kind,
                state,
                time.monotonic() - started,
            )
            count += 1
    return count


def _run(index: Index, job: JobRecord, payload: Mapping[str, Any]) -> JobState:
    work = _Work(index, job)
    by: str | None = payload.get("ingested_by")
    try:
        if job.kind == "delete":
            report = _delete(index, job, payload)
        elif job.kind == "files":
            items = _files(index, payload)
            work.begin([item.uri for item in items])
            report = add_files(index, items, tenant=job.tenant, ingested_by=by, progress=work)
        elif job.kind == "documents":
            texts = _texts(index, payload)
            work.begin([text.uri for text in texts])
            report = add_texts(index, texts, tenant=job.tenant, ingested_by=by, progress=work)
        elif job.kind == "urls":
            urls = list(dict.fromkeys(payload["urls"]))
            work.begin(urls)
            report = add_urls(index, urls, tenant=job.tenant, ingested_by=by, progress=work)
        else:
            raise InputError(f"job kind {job.kind!r} is not known: files, documents, urls or delete")
    except (WinnowError, OSError, KeyError, TypeError, ValueError) as error:
        logger.exception("job_failed id=%s", job.id)
        told = f"{error}" if isinstance(error, WinnowError) else f"{type(error).__name__}: {error}"
        return work.fail(told, kind_of(error))
    state = work.end(report)
    index.checkpoint("job-ended")
    if state == "succeeded":
        _remove_upload(index.settings.home, job.id)
    return state


def _delete(index: Index, job: JobRecord, payload: Mapping[str, Any]) -> IngestReport:
    """Delete a document; one that is gone already was deleted by an earlier try."""
    try:
        delete_document(index, job.tenant, payload["doc_id"])
    except NotFoundError:
        logger.info("job_delete_gone id=%s", job.id)
    return IngestReport(files=1, unchanged=1)


def _files(index: Index, payload: Mapping[str, Any]) -> list[FileItem]:
    """The uploaded files as sources named after them; a second one of a name is numbered."""
    items: list[FileItem] = []
    seen: Counter[str] = Counter()
    for entry in payload["files"]:
        name = entry["name"]
        seen[name] += 1
        uri = f"upload:{name}" if seen[name] == 1 else f"upload:{name}#{seen[name]}"
        items.append(FileItem(uri, _below_uploads(index, entry["path"])))
    if not items:
        raise InputError("the job names no file")
    return items


def _texts(index: Index, payload: Mapping[str, Any]) -> list[TextItem]:
    from indexing.readers import read_file

    path = _below_uploads(index, payload["path"])
    limit = int(index.settings.indexing.max_file_mb * 1e6)
    texts: list[TextItem] = []
    for extraction in read_file(path, max_bytes=limit):
        if extraction.doc_id is None:
            raise ReadError("a document without an id")
        texts.append(TextItem(f"document:{extraction.doc_id}", extraction, "text/plain"))
    return texts


def _below_uploads(index: Index, path: str) -> Path:
    uploads = (index.settings.home / "uploads").resolve()
    full = (index.settings.home / path).resolve()
    if not full.is_relative_to(uploads):
        raise InputError(f"the job names {path!r}, which is not below the uploads folder")
    return full


def _remove_upload(home: Path, job_id: str) -> None:
    """Its documents are in the catalogue; the bytes are not needed any more."""
    shutil.rmtree(home / "uploads" / job_id, ignore_errors=True)


class _Work(Silent):
    """Progress of one job, written to its row as documents become searchable."""

    def __init__(self, index: Index, job: JobRecord) -> None:
        self._index = index
        self._job = job
        self._uris: list[str] = []
        self._updated = 0.0

    def begin(self, uris: Sequence[str]) -> None:
        self._uris = list(uris)
        self._write("running")

    def committed(self) -> None:
        if time.monotonic() - self._updated >= _UPDATE_EVERY_S:
            self._write("running")
            self._index.checkpoint("job-updated")

    def end(self, report: IngestReport) -> JobState:
        if not self._uris:
            self._index.catalog.job_table.update(
                self._job.id, state="succeeded", done=1, failed=0, sentences=0, errors=(), total=1
            )
            return "succeeded"
        failed = {uri for uri, _ in report.failures}
        state: JobState = "succeeded"
        if failed:
            state = "failed" if len(failed) >= len(self._uris) else "partial"
        self._write(state, report.failures, report.kinds)
        return state

    def fail(self, message: str, kind: str) -> JobState:
        self._index.catalog.job_table.update(
            self._job.id,
            state="failed",
            done=0,
            failed=max(len(self._uris), 1),
            sentences=0,
            errors=[(self._job.kind, message)],
            message=message,
            kinds={self._job.kind: kind},
        )
        return "failed"

    def _write(
        self,
        state: JobState,
        failures: Sequence[tuple[str, str]] = (),
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        live, failed, sentences = self._index.catalog.count_sources(self._job.tenant, self._uris)
        errors = list(failures) or failed
        self._index.catalog.job_table.update(
            self._job.id,
            state=state,
            done=live,
            failed=len(errors),
            sentences=sentences,
            errors=errors,
            total=len(self._uris),
            kinds=kinds,
        )
        self._updated = time.monotonic()
