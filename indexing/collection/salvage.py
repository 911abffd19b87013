"""Child process of a repair: copy what one shard folder gives into another.

``python -m indexing.collection.salvage HOME SOURCE TARGET`` writes
``{"points": n, "error": "..."}`` to stdout.  The target is created when absent;
with both the same it is only counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from indexing.collection.builder import die_with_parent
from indexing.collection.edge import Shard
from indexing.collection.layout import Layout, read_description
from indexing.collection.protocol import CollectionSpec, StoredPoint
from indexing.collection.validation import check_points
from indexing.errors import CollectionError, VectorError
from indexing.records import Embedding, Point, SparseVector

_BATCH = 256


def salvage(home: Path, source: Path, target: Path) -> tuple[int, str]:
    """Copy all sound points; returns how many, and what ended the reading early."""
    spec, parameters = read_description(Layout(home))
    if not target.exists():
        Shard.create(target, spec, parameters).close()
    fresh = Shard.load(target, spec, parameters)
    if source == target:
        count = fresh.points
        fresh.close()
        return count, ""
    copied, refused, error = 0, 0, ""
    try:
        damaged = Shard.load(source, spec, parameters)
        following: str | None = None
        while True:
            page, following = damaged.scroll(None, None, following, _BATCH, True)
            sound = [point for point in map(_point, page) if _is_sound(point, spec)]
            refused += len(page) - len(sound)
            if sound:
                fresh.upsert(sound)
            copied += len(sound)
            if following is None:
                break
    except CollectionError as failure:
        error = str(failure)
    fresh.close()
    if refused and not error:
        error = f"{refused} points are not readable"
    return copied, error


def _point(stored: StoredPoint) -> Point:
    return Point(stored.id, stored.embedding or Embedding(None, SparseVector((), ())), stored.payload)


def _is_sound(point: Point, spec: CollectionSpec) -> bool:
    try:
        check_points([point], spec)
    except VectorError:
        return False
    return True


def main(arguments: list[str]) -> int:
    die_with_parent()
    home, source, target = (Path(argument) for argument in arguments)
    points, error = salvage(home, source, target)
    sys.stdout.write(json.dumps({"points": points, "error": error}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
