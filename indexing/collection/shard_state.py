"""What the engine does not tell about a shard, in a small file beside its folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


def state_path(shard: Path) -> Path:
    return shard.with_name(shard.name + ".state")


@dataclass(slots=True)
class ShardState:
    """Three facts about a shard folder.

    Attributes:
        stale: a point was deleted or replaced since the indexes were built.
            The engine's index-wide IDF goes on counting such points, so exact
            scores then need statistics over the tenant's live points (1 ms
            more at 100,000 points).  Written before the first such change.
        pending: dense vectors written since the HNSW graph was built.  Written
            at each flush, so a killed process forgets the last seconds of it.
        closed_points: how many points a clean close left, None while open.
            The engine opens a shard whose segments lost their version file as
            an empty one without a word; this number gives it away.
    """

    path: Path
    stale: bool = False
    pending: int = 0
    closed_points: int | None = None

    @classmethod
    def read(cls, shard: Path) -> ShardState:
        path = state_path(shard)
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            closed = body["closed_points"]
            return cls(
                path, bool(body["stale"]), int(body["pending"]), None if closed is None else int(closed)
            )
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError):
            return cls(path, stale=True)  # the careful answer: slower, never wrong

    def write(self) -> None:
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        body = {"stale": self.stale, "pending": self.pending, "closed_points": self.closed_points}
        draft.write_text(json.dumps(body), encoding="utf-8")
        os.replace(draft, self.path)

    def mark_stale(self) -> None:
        if not self.stale:
            self.stale = True
            self.write()
