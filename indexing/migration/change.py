"""Switch to the other generation, go back, drop one: short steps under the writer lock.

What is served is one row of the catalogue.  A server's alias follows it for
others' clients; killed in between, any of these commands moves it later.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from indexing.catalog.generations import Debt, Generation, Pair
from indexing.errors import CollectionError, IngestBusyError, InputError
from indexing.ingest import writing
from indexing.ingest.reconcile import compare
from indexing.ingest.report import IngestReport, Progress, Silent
from indexing.ingest.settle import bring_in_line, settle
from indexing.migration.lease import alone
from indexing.migration.sides import changes, settings_of
from indexing.session import Index

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """Both generations and how far the one that is not served has got."""

    pair: Pair
    debt: Debt
    queued: Debt

    @property
    def complete(self) -> bool:
        """Whether the other generation could be switched to."""
        return self.pair.beside is not None and not self.debt.documents


def standing(index: Index) -> Standing:
    """Return where the migration stands; takes no lock."""
    table = index.catalog.generations
    pair = table.pair()
    nothing = Debt(0, 0)
    if pair.beside is None:
        return Standing(pair, nothing, nothing)
    return Standing(pair, table.debt(), table.debt(queued=True))


def switch(
    index: Index, *, back: bool = False, unchecked: bool = False, progress: Progress | None = None
) -> int:
    """Serve the newer generation, or with ``back`` the older one; returns its number.

    A generation that is served already is no error, so a switch that was killed
    is simply repeated.

    Args:
        unchecked: do not ask for a comparison.

    Raises:
        InputError: no migration is under way, its backfill is not complete, or
            nothing was compared yet.
        CollectionError: the other generation does not hold what the catalogue says.
    """
    told = progress if progress is not None else Silent()
    with writing(index, progress=told):
        beside = _beside(index.pair, back)
        number = index.pair.number
        if (beside.number > number) != back:
            _check(index, beside, unchecked or back)
            _pay(index, told)
            index.checkpoint("switch-ready")
            index.catalog.generations.switch()
            index.checkpoint("switched")
            index.follow()
            logger.info("generation_switched before=%d now=%d", number, index.pair.number)
        publish(index)
        index.checkpoint("alias-moved")
        return index.pair.number


def drop(index: Index, *, wait_s: float = 30.0, progress: Progress | None = None) -> int:
    """Delete the generation that is not served; returns its number.

    Before a switch that ends a migration without a trace, after it the way
    back is gone.

    Raises:
        InputError: no migration is under way, or the configuration names the
            encoders of neither generation.
        IngestBusyError: a process still answers from it.
    """
    with writing(index, progress=progress):
        other = index.pair.other
        if other is None or index.pair.served is None:
            raise InputError("there is one generation only: nothing to drop")
        _check_configured(index, index.pair.served, other)
        lease = alone(index.settings.home, other.number, timeout_s=wait_s)
        if lease is None:
            raise IngestBusyError(
                f"a process still answers from generation {other.number}; it follows a switch within "
                "collection.watch_s seconds, or end it"
            )
        with lease:
            index.catalog.generations.begin_drop()
            index.checkpoint("drop-listed")
            index.follow()
            publish(index)  # a switch may have been killed before it did
            _delete_collection(index, other)
            index.checkpoint("generation-deleted")
            index.catalog.generations.end_drop()
            index.checkpoint("drop-ended")
            index.follow()
    return other.number


def followed(index: Index, *, wait_s: float) -> bool:
    """Whether, within ``wait_s`` seconds, no process answers from the other generation any more."""
    other = index.catalog.generations.pair().other
    if other is None:
        return True
    lease = alone(index.settings.home, other.number, timeout_s=wait_s)
    if lease is None:
        return False
    lease.close()
    return True


def publish(index: Index) -> None:
    """Have the server's alias name what is served; nothing to do in the other homes."""
    if index.settings.collection.home != "server":
        return
    from indexing.collection.alias import alias_of, point_alias

    alias = alias_of(index.configured.collection)
    index.bridge(point_alias, index.settings.collection, alias)


def _beside(pair: Pair, back: bool) -> Generation:
    if pair.beside is None:
        what = "nothing to go back to" if back else "no migration is under way"
        raise InputError(f"{what}; begin one with: python -m indexing migrate start")
    return pair.beside


def _check(index: Index, beside: Generation, unchecked: bool) -> None:
    left = index.catalog.generations.debt(queued=True)
    if left.documents:
        raise InputError(
            f"generation {beside.number} still lacks {left.documents} documents; "
            "go on with: python -m indexing migrate start"
        )
    if beside.comparison is None and not unchecked:
        raise InputError(
            "the two generations were not compared yet; run: python -m retrieval.migration, "
            "or switch all the same with --unchecked"
        )


def _pay(index: Index, progress: Progress) -> None:
    """Finish what an earlier run left, and see that the other generation holds every sentence."""
    settle(index, IngestReport(), progress)
    mirror = index.mirror
    if mirror is None:
        raise InputError("no migration is under way")
    bring_in_line(mirror, IngestReport(), progress)
    index.note_trouble("")
    wanted = index.catalog.totals().sentences
    if mirror.bridge(mirror.collection.count, tenant=None) != wanted:
        compare(mirror, progress)
        bring_in_line(mirror, IngestReport(), progress)
    found = mirror.bridge(mirror.collection.count, tenant=None)
    if found != wanted:
        raise CollectionError(f"the other generation has {found} of {wanted} sentences; nothing was switched")


def _check_configured(index: Index, served: Generation, leaving: Generation) -> None:
    """The next start must find encoders that it is configured for, or those that it knows are replaced."""
    wanted = changes(index.configured.encoders, served)
    if wanted and changes(index.configured.encoders, leaving):
        raise InputError(
            f"generation {served.number} stays, and the configuration names other encoders; "
            f"set {wanted} first"
        )


def _delete_collection(index: Index, generation: Generation) -> None:
    from indexing.collection import drop_collection

    settings = settings_of(index.configured, generation)
    index.bridge(drop_collection, settings)


def shown(generation: Generation) -> dict[str, Any]:
    """A generation as JSON."""
    return {
        "number": generation.number,
        "state": generation.state,
        "collection": generation.collection,
        "encoders": dict(generation.encoders),
        "parameters": dict(generation.parameters),
        "trouble": generation.trouble,
        "created_at": generation.created_at,
    }
