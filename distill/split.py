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
    """Return ``(train, dev)``; all lists of one query, of every teacher, are on one side.

    Some files give every list an id of its own.  Lists with the same query
    text (casefolded) go where the least of their ids goes, else the dev split
    would hold queries that were trained on.
    """
    given = list(lists)
    known: dict[str, str] = {}
    for one in given:
        text = _same(one)
        known[text] = min(one.query.query_id, known.get(text, one.query.query_id))
    train: list[LabelledList] = []
    dev: list[LabelledList] = []
    for one in given:
        (dev if is_dev(known[_same(one)], share=share, seed=seed) else train).append(one)
    return train, dev


def _same(one: LabelledList) -> str:
    return one.query.text.strip().casefold()


def without_queries(lists: Sequence[LabelledList], held_out: frozenset[str]) -> list[LabelledList]:
    """Return the lists whose query id and query text are not held out (compared casefolded)."""
    return [
        one
        for one in lists
        if one.query.query_id not in held_out and one.query.text.strip().casefold() not in held_out
    ]
