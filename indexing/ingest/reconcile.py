"""Make catalogue and collection agree again, or build the collection anew."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass

from indexing.errors import InputError
from indexing.ingest import writing
from indexing.ingest.report import IngestReport, Progress, Silent
from indexing.ingest.settle import ids_of, settle
from indexing.session import Index

logger = logging.getLogger(__name__)

_IDS_PER_CALL = 5000


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found and mended.

    Attributes:
        damaged: the stored shard did not load and was salvaged.
        missing: sentences of the catalogue that had no point; they were encoded again.
        surplus: points that no live document has; they were deleted.
        renamed: documents whose points named another source.
        report: the run that mended it.
    """

    damaged: bool
    missing: int
    surplus: int
    renamed: int
    report: IngestReport


def repair_index(index: Index, progress: Progress | None = None) -> Reconciliation:
    """Salvage a damaged shard, then compare points and catalogue both ways and mend the difference.

    Raises:
        DamagedShardError: not even the collection's description is readable; ``reindex`` helps.
        IngestBusyError: another process went on writing for too long.
    """
    told = progress if progress is not None else Silent()
    with writing(index, progress=told):
        damaged = _salvage(index)
        # Staged and retiring documents first, so that every point belongs to a live one.
        report = IngestReport()
        settle(index, report, told)
        missing, surplus, renamed = compare(index, told)
        if damaged:
            index.catalog.lifecycle.forget_averages()
        if index.mirror is not None:
            _repair_beside(index.mirror, told)
        settle(index, report, told)
    return Reconciliation(damaged, missing, surplus, renamed, report)


def _salvage(index: Index) -> bool:
    if index.settings.collection.home != "embedded":
        return False
    from indexing.collection.layout import layout_of
    from indexing.collection.repair import repair

    if not layout_of(index.settings).description.exists():
        return False
    index.close_collection()
    return index.bridge(repair, index.settings).damaged


def _repair_beside(mirror: Index, progress: Progress) -> None:
    """The same for the generation beside; what it lacks is encoded by the run that follows."""
    damaged = _salvage(mirror)
    compare(mirror, progress)
    if damaged:
        mirror.catalog.lifecycle.forget_averages()


def compare(index: Index, progress: Progress) -> tuple[int, int, int]:
    """Return how many points are missing, surplus and misnamed; surplus ones are deleted, others noted."""
    lifecycle = index.catalog.lifecycle
    expected: dict[bytes, int] = {}
    sources: dict[int, str] = {}
    for document in lifecycle.live():
        sources[document.key] = document.source
        for id in ids_of(document):
            expected[uuid.UUID(id).bytes] = document.key
    progress.stage("compare", len(expected), "points")
    surplus: list[str] = []
    misnamed: set[int] = set()
    for batch in index.bridge.iterate(index.collection.scroll, tenant=None):
        for point in batch:
            key = expected.pop(uuid.UUID(point.id).bytes, None)
            if key is None:
                surplus.append(point.id)
            elif point.payload.get("source") != sources[key]:
                misnamed.add(key)
        progress.advance(len(batch))
    for start in range(0, len(surplus), _IDS_PER_CALL):
        index.bridge(index.collection.delete, surplus[start : start + _IDS_PER_CALL])
    lifecycle.embed_again(sorted(set(expected.values())))
    for key in misnamed:
        lifecycle.set_source(key, "")
    return len(expected), len(surplus), len(misnamed)


def reindex(index: Index, progress: Progress | None = None) -> IngestReport:
    """Build the collection anew from the catalogue's text: what a change of encoders needs.

    No file is read.  Killed, it is completed by ``reindex`` or by any later
    run.  Until it ends, searches find what has been encoded so far.

    Raises:
        InputError: a migration is under way.
        IngestBusyError: another process went on writing for too long.
        EncoderError: the configured encoders do not load (nothing is dropped then).
    """
    from indexing.collection import drop_collection

    told = progress if progress is not None else Silent()
    report = IngestReport()
    started = time.monotonic()
    with writing(index, progress=told):
        if index.pair.other is not None:
            raise InputError(
                "a migration is under way: go on with `python -m indexing migrate start`, "
                "or end it with `python -m indexing migrate drop`"
            )
        encoders = index.encoders  # loaded before anything is dropped
        logger.info("reindex dense=%s sparse=%s", encoders.dense_fingerprint, encoders.sparse_fingerprint)
        index.close_collection()
        index.catalog.lifecycle.embed_again(None)
        index.checkpoint("embeddings-forgotten")
        index.bridge(drop_collection, index.settings)
        index.checkpoint("collection-dropped")
        settle(index, report, told)
    report.seconds = time.monotonic() - started
    return report
