"""Points from one collection to another, by id, several requests at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from indexing.collection.protocol import Collection, StoredPoint
from indexing.errors import CollectionError
from indexing.records import Point
from indexing.transfer.cursor import Cursor
from indexing.transfer.patience import Patience

BATCH = 256
_IDS_PER_CALL = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """How a stream runs: points a request, requests at a time, and how failures are met."""

    batch: int = BATCH
    concurrency: int = 4
    patience: Patience = field(default_factory=Patience)


async def copy_points(
    source: Collection,
    target: Collection,
    cursor: Cursor,
    pace: Pace,
    acknowledged: Callable[[int], None],
) -> int:
    """Send every point behind the cursor in the order of ids; return how many were sent.

    The cursor moves when a batch and all batches before it are acknowledged, so
    a run that was killed sends again at most what was under way. Sending a point
    twice changes nothing: its id stays the same.
    """
    under_way: deque[tuple[str, int, asyncio.Task[None]]] = deque()
    sent = 0

    async def settle_oldest() -> None:
        nonlocal sent
        last, count, task = under_way[0]
        await task
        under_way.popleft()
        cursor.last, cursor.sent = last, cursor.sent + count
        sent += count
        cursor.save()
        acknowledged(count)

    try:
        async for points in _points(source, cursor.last, pace.batch):
            if len(under_way) >= pace.concurrency:
                await settle_oldest()
            call = pace.patience.call(lambda points=points: target.upsert(points))  # type: ignore[misc]
            under_way.append((points[-1].id, len(points), asyncio.create_task(call)))
        while under_way:
            await settle_oldest()
    finally:
        for _, _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in under_way), return_exceptions=True)
    cursor.complete = True
    cursor.save()
    return sent


async def _points(source: Collection, last: str, batch: int) -> AsyncIterator[list[Point]]:
    """Batches of points behind ``last``, which itself has been sent."""
    rows = source.scroll(tenant=None, batch=batch, with_vectors=True, start=last or None)
    async for part in rows:
        points = [as_point(row) for row in part if row.id != last]
        if points:
            yield points


def as_point(row: StoredPoint) -> Point:
    """A point as it can be written again.

    Raises:
        CollectionError: it was read without its vectors.
    """
    if row.embedding is None:
        raise CollectionError(f"the collection returned point {row.id} without the vectors asked for")
    return Point(row.id, row.embedding, row.payload)


async def delete_surplus(source: Collection, target: Collection) -> int:
    """Delete the points of ``target`` that ``source`` does not have; return how many."""
    here = _ids(source)
    current = await anext(here, None)
    surplus: list[str] = []
    async for key in _ids(target):
        while current is not None and current < key:
            current = await anext(here, None)
        if key != current:
            surplus.append(key)
    for start in range(0, len(surplus), _IDS_PER_CALL):
        await target.delete(surplus[start : start + _IDS_PER_CALL])
    return len(surplus)


async def _ids(collection: Collection) -> AsyncIterator[str]:
    async for rows in collection.scroll(tenant=None, batch=_IDS_PER_CALL):
        for row in rows:
            yield row.id
