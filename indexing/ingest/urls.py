"""Documents by URL: fetched into a folder of their own, then indexed as files under their URL."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from indexing.errors import FetchError
from indexing.fetch.client import Resolve, fetch, resolve_name
from indexing.ingest.report import IngestReport, Progress
from indexing.ingest.stage import FileItem, stage_files
from indexing.session import Index

_FOLDER = ".fetched-"


def stage_urls(
    index: Index,
    tenant: str,
    urls: Sequence[str],
    report: IngestReport,
    progress: Progress,
    *,
    ingested_by: str | None = None,
    resolve: Resolve = resolve_name,
) -> None:
    """Fetch the URLs and stage what came; one that fails is a failure of the report, the others go on."""
    # Below the home folder: the same disk and the same rights as uploads.  The
    # caller holds the writer lock, so what is there was left by a run that died.
    for left in index.settings.home.glob(f"{_FOLDER}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=_FOLDER, dir=index.settings.home))
    try:
        items: list[FileItem] = []
        wanted = list(dict.fromkeys(urls))
        progress.stage("fetch", len(wanted), "URLs")
        for number, url in enumerate(wanted):
            try:
                found = index.bridge(fetch, url, index.settings.fetch, resolve=resolve)
                path = folder / f"{number:04d}" / found.name
                path.parent.mkdir()
                path.write_bytes(found.data)
                items.append(FileItem(url, path))
            except FetchError as error:
                report.files += 1
                report.failed(url, str(error), error)
            progress.advance(1)
        stage_files(index, tenant, items, report, progress, ingested_by=ingested_by)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
