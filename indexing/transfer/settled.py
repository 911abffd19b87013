"""Is the index in order? What is copied must be whole."""

from __future__ import annotations

from indexing.errors import CollectionError
from indexing.session import Index


def check_settled(index: Index) -> None:
    """Return when catalogue and collection hold the same; the writer lock is held.

    Raises:
        CollectionError: a run was interrupted, or the two differ; the message
            has the command that helps.
    """
    totals = index.catalog.totals()
    if totals.staged or totals.retiring:
        raise CollectionError(
            f"an indexing run was interrupted ({totals.staged} documents staged, {totals.retiring} "
            "retiring); finish it first: python -m indexing repair"
        )
    points = index.bridge(index.collection.count, tenant=None)
    if points != totals.sentences:
        raise CollectionError(
            f"the collection has {points} points and the catalogue {totals.sentences} sentences; "
            "run: python -m indexing repair (or, if the index has moved to a server: set collection.home)"
        )
