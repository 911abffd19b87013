"""The embedded collection moved to a Qdrant server: streamed, resumable, compared.

The catalogue stays where it is. Afterwards the service is started with the
same home folder and ``collection.home = "server"``: the ids in both are the same.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace

from indexing.collection import open_collection
from indexing.collection.protocol import Collection
from indexing.errors import InputError, MismatchError
from indexing.ingest import writing
from indexing.ingest.report import Progress, Silent
from indexing.session import Index
from indexing.settings import Settings
from indexing.transfer.compare import compare
from indexing.transfer.cursor import Cursor, cursor_path, read_cursor, state_of
from indexing.transfer.settled import check_settled
from indexing.transfer.stream import Pace, copy_points, delete_surplus

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushReport:
    """One push in numbers.

    ``sent`` in this run, ``before`` by runs that it went on from; ``deleted``
    were on the server and not here; ``sampled`` points were compared and asked for.
    """

    collection: str
    points: int
    sent: int
    before: int
    deleted: int
    tenants: dict[str, int]
    sampled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PushOptions:
    """What the caller of a push chooses.

    ``overwrite``: a collection that this push did not begin is made equal to
    this one; ``queries``: how many points are sampled, by ``seed``.
    """

    overwrite: bool = False
    queries: int = 50
    seed: int = 0
    pace: Pace = field(default_factory=Pace)


def target_settings(settings: Settings, url: str) -> Settings:
    """The same settings with the collection at this address."""
    collection = settings.collection.model_copy(update={"home": "server", "url": url})
    return settings.model_copy(update={"collection": collection})


def push(index: Index, url: str, options: PushOptions, progress: Progress | None = None) -> PushReport:
    """Copy the collection to the server at ``url`` and compare both.

    Other writers of the index wait meanwhile; searches go on. Killed and run
    again, it goes on where it was; changed in between, it sends all of it again.

    Raises:
        InputError: the index is not embedded, a migration is in progress, or
            the server holds another collection of this name.
        CollectionUnavailableError: the server went away for longer than the
            retries; run it again to go on.
        CollectionError: the index is not in order; see ``check_settled``.
        FingerprintMismatchError: what is there was made by other encoders.
        MismatchError: the two sides differ at the end.
    """
    from indexing.collection.server import shown_address

    told = progress if progress is not None else Silent()
    started = time.monotonic()
    with writing(index, progress=told):
        if index.settings.collection.home != "embedded":
            raise InputError("push moves an embedded collection; set collection.home = 'embedded'")
        if index.pair.other is not None:
            raise InputError("a migration is in progress; switch or undo it first")
        check_settled(index)
        source = index.collection
        state = state_of(index)
        settings = target_settings(index.settings, url)
        path = cursor_path(index.settings.home, shown_address(url), settings.collection.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        told.stage("push", index.bridge(source.count, tenant=None), "points")
        found = read_cursor(path)
        cursor = found if found is not None and found.state == state else Cursor(path, state)
        options = options if found is None else replace(options, overwrite=True)
        try:
            return index.bridge(
                _push, source, settings, cursor, index.catalog.tenants(), options, told, started
            )
        except MismatchError:
            Cursor(path, state).save()  # the next run sends everything again
            raise


async def _push(
    source: Collection,
    settings: Settings,
    cursor: Cursor,
    tenants: list[str],
    options: PushOptions,
    progress: Progress,
    started: float,
) -> PushReport:
    patience = options.pace.patience
    target = await patience.call(lambda: open_collection(settings, source.spec))
    try:
        there = await patience.call(lambda: target.count(tenant=None))
        if there and not options.overwrite:
            raise InputError(
                f"the server's collection {settings.collection.name!r} holds {there} points that this push "
                "did not send; choose another collection.name, or --overwrite it"
            )
        if there < cursor.sent:
            logger.warning("the server has %d of %d points sent before; starting anew", there, cursor.sent)
            cursor = Cursor(cursor.path, cursor.state)
        before = cursor.sent
        # From here on what is there counts as this push's own.
        cursor.save()
        progress.advance(before)
        sent = 0
        if not cursor.complete:
            sent = await copy_points(source, target, cursor, options.pace, progress.advance)
        deleted = 0
        if await patience.call(lambda: target.count(tenant=None)) > cursor.sent:
            deleted = await patience.call(lambda: delete_surplus(source, target))
        same = await compare(
            source, target, tenants, queries=options.queries, seed=options.seed, patience=patience
        )
    finally:
        await target.close()
    return PushReport(
        settings.collection.name,
        same.points,
        sent,
        before,
        deleted,
        same.tenants,
        same.sampled,
        time.monotonic() - started,
    )
