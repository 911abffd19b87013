"""Files and documents into the index: idempotent, incremental, safe to kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from indexing.errors import IngestBusyError, NotFoundError
from indexing.fetch.client import Resolve, resolve_name
from indexing.ingest.lock import writer_lock
from indexing.ingest.report import IngestReport, Progress, Silent
from indexing.ingest.scan import scan_paths, source_path, source_uri
from indexing.ingest.settle import retire, settle
from indexing.ingest.stage import FileItem, TextItem, stage_files, stage_texts
from indexing.ingest.urls import stage_urls
from indexing.records import DEFAULT_TENANT
from indexing.session import Index

__all__ = [
    "FileItem",
    "IngestReport",
    "Progress",
    "TextItem",
    "add_files",
    "add_paths",
    "add_texts",
    "add_urls",
    "delete_document",
    "writing",
]


def add_paths(
    index: Index,
    paths: Sequence[Path],
    *,
    tenant: str = DEFAULT_TENANT,
    prune: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Index every readable file under ``paths``; return what was done.

    Running it again changes nothing; killed at any moment and run again, it
    ends as an uninterrupted run does.

    Args:
        prune: forget sources under ``paths`` whose file is gone.

    Raises:
        InputError: a path does not exist (with ``prune``, it may be gone).
        IngestBusyError: another process went on writing for too long.
        CollectionError, EncoderError: nothing can be indexed.
    """
    from indexing.readers import supported_suffixes

    settings = index.settings
    scan = scan_paths(
        paths,
        supported_suffixes(),
        home=settings.home,
        allow_missing=prune,
        outside_links=settings.indexing.outside_links,
    )
    items = [FileItem(source_uri(path), path) for path in scan.files]

    def stage(report: IngestReport, progress: Progress) -> None:
        report.skipped.update(scan.skipped)
        report.failures.extend(scan.failures)
        stage_files(index, tenant, items, report, progress)
        if prune:
            report.removed_sources = _prune(index, tenant, scan.roots)

    return _run(index, stage, progress)


def add_files(
    index: Index,
    items: Sequence[FileItem],
    *,
    tenant: str,
    ingested_by: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Index single files under the source names given, on behalf of the key that ``ingested_by`` names."""

    def stage(report: IngestReport, progress: Progress) -> None:
        stage_files(index, tenant, items, report, progress, ingested_by=ingested_by)

    return _run(index, stage, progress)


def add_urls(
    index: Index,
    urls: Sequence[str],
    *,
    tenant: str = DEFAULT_TENANT,
    ingested_by: str | None = None,
    progress: Progress | None = None,
    resolve: Resolve = resolve_name,
) -> IngestReport:
    """Fetch documents from the hosts that ``fetch.allowed_hosts`` names, and index them.

    A URL that is refused or does not answer is a failure of the report.
    """

    def stage(report: IngestReport, progress: Progress) -> None:
        stage_urls(index, tenant, urls, report, progress, ingested_by=ingested_by, resolve=resolve)

    return _run(index, stage, progress)


def add_texts(
    index: Index,
    items: Sequence[TextItem],
    *,
    tenant: str = DEFAULT_TENANT,
    ingested_by: str | None = None,
    prune_prefix: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Index documents that are in memory, each its own source.

    Args:
        prune_prefix: forget sources beginning with it that are not among ``items``.
    """

    def stage(report: IngestReport, progress: Progress) -> None:
        stage_texts(index, tenant, items, report, progress, ingested_by=ingested_by)
        if prune_prefix is not None:
            named = {item.uri for item in items}
            gone = [
                uri
                for uri in index.catalog.sources(tenant)
                if uri.startswith(prune_prefix) and uri not in named
            ]
            index.catalog.staging.remove_sources(tenant, gone)
            report.removed_sources = len(gone)

    return _run(index, stage, progress)


def delete_document(index: Index, tenant: str, doc_id: str) -> None:
    """Remove a document: invisible at once, its points gone when this returns.

    While another process writes the index, that process removes the points.

    Raises:
        NotFoundError: there is no such document.
    """
    if not index.catalog.staging.forget_document(tenant, doc_id):
        raise NotFoundError(f"no document {doc_id!r}")
    index.checkpoint("document-forgotten")
    with suppress(IngestBusyError), writing(index, timeout_s=0.0):
        retire(index, IngestReport())


@contextmanager
def writing(
    index: Index, *, timeout_s: float | None = None, progress: Progress | None = None
) -> Iterator[None]:
    """Hold the writer lock; within it, the functions of this module take it for granted.

    Raises:
        IngestBusyError: another process still holds it after ``timeout_s``
            (default: ``indexing.lock_timeout_s``).
    """
    if index.locked:
        yield
        return
    settings = index.settings
    limit_s = settings.indexing.lock_timeout_s if timeout_s is None else timeout_s
    waiting = progress.message if progress is not None else None
    with writer_lock(settings.home, timeout_s=limit_s, waiting=waiting):
        index.locked = True
        try:
            index.follow()
            yield
        finally:
            index.locked = False


def _run(
    index: Index, stage: Callable[[IngestReport, Progress], None], progress: Progress | None
) -> IngestReport:
    """Stage and settle under the lock; the report's seconds include the wait."""
    told = progress if progress is not None else Silent()
    report = IngestReport()
    started = time.monotonic()
    with writing(index, progress=told):
        stage(report, told)
        index.checkpoint("sources-staged")
        settle(index, report, told)
    report.failures.sort()
    report.seconds = time.monotonic() - started
    return report


def _prune(index: Index, tenant: str, roots: Sequence[Path]) -> int:
    """Forget sources under ``roots`` whose file is gone; return how many."""
    tops = [os.fsencode(root) for root in roots]
    gone: list[str] = []
    for uri in index.catalog.sources(tenant):
        path = source_path(uri)
        below = any(path == top or path.startswith(top.rstrip(b"/") + b"/") for top in tops)
        if below and not os.path.lexists(path):
            gone.append(uri)
    index.catalog.staging.remove_sources(tenant, gone)
    index.checkpoint("pruned")
    return len(gone)
