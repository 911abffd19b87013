"""Which points of a shard have no dense vector, while they are not too many to remember."""

from __future__ import annotations

from collections.abc import Sequence

import qdrant_edge as qe

from indexing.collection.protocol import DENSE
from indexing.identity import key_of_id
from indexing.records import Point

MOST = 20_000
"""Ids kept in memory, 2 MB; beyond it nothing is known."""


class WithoutDense:
    """Ids of the points without a dense vector; a new shard has none."""

    def __init__(self) -> None:
        self._ids: set[bytes] | None = set()

    @classmethod
    def of(cls, shard: qe.EdgeShard) -> WithoutDense:
        """Look them up in a shard: 2 ms at 100,000 points."""
        where = qe.Filter(must_not=[qe.HasVectorCondition(DENSE)])
        request = qe.ScrollRequest(limit=MOST + 1, filter=where, with_payload=False, with_vector=False)
        rows, _ = shard.scroll(request)
        made = cls()
        made._ids = None if len(rows) > MOST else {key_of_id(str(row.id)) for row in rows}
        return made

    def note(self, points: Sequence[Point]) -> None:
        """Take note of points that were written.

        Deleted ones stay: they are never hits, and may come back as they were.
        """
        if self._ids is None:
            return
        for point in points:
            if point.embedding.dense is None:
                self._ids.add(key_of_id(point.id))
            elif self._ids:
                self._ids.discard(key_of_id(point.id))
        if len(self._ids) > MOST:
            self._ids = None

    def among(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """Return those of the packed ids that have none; None where that is not known."""
        known = self._ids
        return None if known is None else [key for key in keys if key in known]
