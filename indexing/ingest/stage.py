"""First half of a run: sources are read and their documents stored as ``staged``."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexing.catalog.records import NewDocument, SourceRecord
from indexing.catalog.staging import (
    AddDocument,
    BeginSource,
    Conflict,
    FinishSource,
    LinkTwin,
    Step,
    summary,
)
from indexing.errors import ReadError, kind_of
from indexing.identity import file_doc_id
from indexing.ingest.pool import ReaderPool, ReadJob
from indexing.ingest.report import IngestReport, Progress
from indexing.parsing.prepare import prepare, splitting_of
from indexing.readers.source import too_large
from indexing.records import Extraction
from indexing.session import Index

_BATCH_CHARS = 4_000_000
_BATCH_STEPS = 500
_CURRENT = ("staged", "live")


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file on disk and the name it is indexed under."""

    uri: str
    path: Path


@dataclass(frozen=True, slots=True)
class TextItem:
    """A document that is in memory already."""

    uri: str
    extraction: Extraction
    media_type: str


def pipeline_digest(index: Index, pipeline_version: int) -> str:
    """What must be equal for an unchanged file to be skipped."""
    return f"{pipeline_version}:{splitting_of(index.settings.indexing)}"


class Stager:
    """Collects steps into batches of one transaction each, and the refusals they meet."""

    def __init__(
        self, index: Index, tenant: str, digest: str, report: IngestReport, ingested_by: str | None
    ) -> None:
        self._index = index
        self._staging = index.catalog.staging
        self._tenant = tenant
        self._digest = digest
        self._report = report
        self._ingested_by = ingested_by
        self._steps: list[Step] = []
        self._chars = 0
        self._refused: dict[str, list[Conflict]] = {}

    def begin(self, uri: str) -> None:
        self._add(BeginSource(uri))

    def document(self, uri: str, document: NewDocument) -> None:
        self._chars += document.chars
        self._add(AddDocument(uri, document, self._digest))

    def twin(self, uri: str, other: SourceRecord) -> None:
        """``uri`` has the bytes of a source that was read."""
        for step in (
            BeginSource(uri),
            LinkTwin(uri, other.uri),
            FinishSource(uri, other.sha256, other.size, other.media_type, self._digest),
        ):
            self._add(step)

    def finish(
        self, uri: str, *, sha256: str, size: int, media_type: str, error: str = "", complete: bool = True
    ) -> None:
        """End a source; not ``complete``: what it held before stays."""
        self._add(FinishSource(uri, sha256, size, media_type, self._digest, error, complete))

    def _add(self, step: Step) -> None:
        self._steps.append(step)
        if len(self._steps) >= _BATCH_STEPS or self._chars >= _BATCH_CHARS:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if not self._steps:
            return
        self._staging.apply(self._tenant, self._steps, self._refused, self._ingested_by)
        for step in self._steps:
            if isinstance(step, FinishSource):
                error = step.error or summary(self._refused.pop(step.uri, ()))
                if error:
                    self._report.failures.append((step.uri, error))
        self._steps, self._chars = [], 0
        self._index.checkpoint("batch-staged")


def stage_files(
    index: Index,
    tenant: str,
    items: Sequence[FileItem],
    report: IngestReport,
    progress: Progress,
    *,
    ingested_by: str | None = None,
) -> None:
    """Read the files that changed; unchanged ones are skipped, equal ones read once.

    A file is unchanged when its bytes and the pipeline are those of its last
    complete reading.
    """
    from indexing.readers import PIPELINE_VERSION

    digest = pipeline_digest(index, PIPELINE_VERSION)
    known = index.catalog.staging.sources(tenant)
    max_file_mb = index.settings.indexing.max_file_mb
    jobs, twins = _plan(items, known, digest, max_file_mb, report, progress)
    if jobs or twins:
        index.check()
    index.catalog.staging.mark_pending(tenant, [job.uri for job in (*jobs, *twins)])
    index.checkpoint("planned")
    stager = Stager(index, tenant, digest, report, ingested_by)
    _read_jobs(index, stager, jobs, report, progress)
    rest = _link_twins(index, tenant, stager, twins, digest, report)
    _read_jobs(index, stager, rest, report, progress)
    index.checkpoint("staged")


def _plan(
    items: Sequence[FileItem],
    known: Mapping[str, SourceRecord],
    digest: str,
    max_file_mb: float,
    report: IngestReport,
    progress: Progress,
) -> tuple[list[ReadJob], list[ReadJob]]:
    """Hash every file; return those to read and those whose bytes are read under another name."""
    changed: list[ReadJob] = []
    max_bytes = int(max_file_mb * 1e6)
    progress.stage("hash", len(items), "files")
    for item in items:
        progress.advance(1)
        report.files += 1
        try:
            sha256, size = _hash(item.path, max_bytes)
        except (OSError, ReadError) as error:
            reason = (
                str(error) if isinstance(error, ReadError) else f"not readable: {error.strerror or error}"
            )
            report.failed(item.uri, reason, error)
            continue
        source = known.get(item.uri)
        if source is not None and source.sha256 == sha256 and _usable(source, digest):
            report.unchanged += 1
            continue
        changed.append(ReadJob(item.uri, item.path, sha256, size, file_doc_id(sha256)))
    # A source that is about to be read again cannot lend its documents.
    busy = {job.uri for job in changed}
    current = {
        source.sha256 for source in known.values() if source.uri not in busy and _usable(source, digest)
    }
    jobs: list[ReadJob] = []
    twins: list[ReadJob] = []
    for job in changed:
        (twins if job.sha256 in current else jobs).append(job)
        current.add(job.sha256)
    return jobs, twins


def _usable(source: SourceRecord, digest: str) -> bool:
    """Whether the source was read whole, by this pipeline."""
    return source.state in _CURRENT and source.digest == digest and not source.error


def _hash(path: Path, max_bytes: int) -> tuple[str, int]:
    """The hash and the size of a regular file; a pipe, or a disk, would be read for ever.

    Raises:
        ReadError: it is no regular file.
        ReadLimitError: it is larger than ``max_bytes``.
    """
    # Opening a pipe that nobody writes to would wait; NONBLOCK means nothing for a file.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ReadError(f"{path.name} is no regular file")
        if status.st_size > max_bytes:
            raise too_large(path.name, max_bytes)
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _read_jobs(
    index: Index, stager: Stager, jobs: Sequence[ReadJob], report: IngestReport, progress: Progress
) -> None:
    if not jobs:
        return
    from indexing.readers import media_type

    progress.stage("read", len(jobs), "files")
    with ReaderPool(index.settings.indexing, index.reader) as pool:
        for job, documents in pool.read(jobs):
            stager.begin(job.uri)
            error = ""
            try:
                for document in documents:
                    stager.document(job.uri, document)
            except ReadError as reason:
                error = str(reason)
                report.kinds[job.uri] = kind_of(reason)
            stager.finish(
                job.uri,
                sha256=job.sha256,
                size=job.size,
                media_type=media_type(job.path),
                error=error,
                complete=not error,
            )
            report.read += not error
            progress.advance(1)
    stager.flush()


def _link_twins(
    index: Index, tenant: str, stager: Stager, twins: Sequence[ReadJob], digest: str, report: IngestReport
) -> list[ReadJob]:
    """Give equal files the documents of the one that was read; return those with none to share."""
    if not twins:
        return []
    readable: dict[str, SourceRecord] = {}
    for source in index.catalog.staging.sources(tenant).values():
        if _usable(source, digest):
            readable.setdefault(source.sha256, source)
    alone: list[ReadJob] = []
    for job in twins:
        other = readable.get(job.sha256)
        if other is None:
            alone.append(job)
        else:
            stager.twin(job.uri, other)
            report.read += 1
    stager.flush()
    return alone


def stage_texts(
    index: Index,
    tenant: str,
    items: Iterable[TextItem],
    report: IngestReport,
    progress: Progress,
    *,
    ingested_by: str | None = None,
) -> None:
    """Store documents that are in memory; each is its own source."""
    from indexing.readers import PIPELINE_VERSION

    digest = pipeline_digest(index, PIPELINE_VERSION)
    known = index.catalog.staging.sources(tenant)
    stager = Stager(index, tenant, digest, report, ingested_by)
    pending: list[tuple[TextItem, NewDocument, str]] = []
    for item, document, sha256 in _prepared(index, items, PIPELINE_VERSION):
        report.files += 1
        source = known.get(item.uri)
        if source is not None and source.sha256 == sha256 and _usable(source, digest):
            report.unchanged += 1
        else:
            pending.append((item, document, sha256))
    if pending:
        index.check()
    index.catalog.staging.mark_pending(tenant, [item.uri for item, _, _ in pending])
    progress.stage("read", len(pending), "documents")
    for item, document, sha256 in pending:
        stager.begin(item.uri)
        stager.document(item.uri, document)
        stager.finish(item.uri, sha256=sha256, size=document.chars, media_type=item.media_type)
        report.read += 1
        progress.advance(1)
    stager.flush()
    index.checkpoint("staged")


def _prepared(
    index: Index, items: Iterable[TextItem], pipeline_version: int
) -> Iterator[tuple[TextItem, NewDocument, str]]:
    for item in items:
        uri_digest = hashlib.sha256(item.uri.encode()).hexdigest()
        document = prepare(
            item.extraction,
            doc_id=uri_digest[:32],
            media_type=item.media_type,
            pipeline_version=pipeline_version,
            settings=index.settings.indexing,
        )
        yield item, document, document.version
