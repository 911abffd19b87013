"""Train and dev, cut by query, the same cut on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from distill.records import LabelledList

_BUCKETS = 10_000


def is_dev(query_id: str, *, share: float, seed: int = 0) -> bool:
    """Return whether a query belongs to the dev split.

    A hash of the id decides, not its place in the file: adding queries moves
    none of the old ones, so a model trained earlier has still not seen them.
    """
    digest = hashlib.blake2b(f"{seed}\0{query_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _BUCKETS < round(share * _BUCKETS)


def split_by_query(
    lists: Iterable[LabelledList], *, share: float, seed: int = 0
) -> tuple[list[LabelledList], list[LabelledList]]:
    """Return ``(train, dev)``; all lists of one query, of every teacher, are on one side."""
    train: list[LabelledList] = []
    dev: list[LabelledList] = []
    for one in lists:
        (dev if is_dev(one.query.query_id, share=share, seed=seed) else train).append(one)
    return train, dev


def without_queries(lists: Sequence[LabelledList], held_out: frozenset[str]) -> list[LabelledList]:
    """Return the lists whose query id and query text are not held out (compared casefolded)."""
    return [
        one
        for one in lists
        if one.query.query_id not in held_out and one.query.text.strip().casefold() not in held_out
    ]
