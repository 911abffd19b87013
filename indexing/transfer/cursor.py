"""How far a push has got, in a small file that survives the process.

The cursor belongs to one target and one state of the index: what was sent
before stays sent only while nothing here has changed since.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import func, select

from indexing.catalog.lifecycle import AVERAGE_KEY
from indexing.catalog.schema import documents, meta
from indexing.collection.layout import replace_durably
from indexing.session import Index


@dataclass(slots=True)
class Cursor:
    """What a target has acknowledged.

    ``last``: the highest id up to which every point is there, "" for none;
    ``sent``: how many points that is; ``complete``: the stream reached its end.
    """

    path: Path
    state: str
    last: str = ""
    sent: int = 0
    complete: bool = False

    def save(self) -> None:
        body = asdict(self)
        del body["path"]
        replace_durably(self.path, json.dumps(body) + "\n")


def cursor_path(home: Path, address: str, name: str) -> Path:
    """The file of the cursor for this collection at this address."""
    digest = hashlib.sha256(f"{address}/{name}".encode()).hexdigest()
    return home / "push" / f"{digest[:16]}.json"


def read_cursor(path: Path) -> Cursor | None:
    """The cursor in this file; None when there is none that can be read."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return Cursor(path, str(body["state"]), str(body["last"]), int(body["sent"]), bool(body["complete"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def state_of(index: Index) -> str:
    """A digest that changes with everything that changes a point; the writer lock is held."""
    d = documents.c
    moving = meta.c.key.startswith("revision:") | (meta.c.key == AVERAGE_KEY)
    with index.catalog.engine.connect() as connection:
        values = connection.execute(select(meta.c.key, meta.c.value).where(moving).order_by(meta.c.key)).all()
        rows = connection.execute(
            select(
                func.count(),
                func.max(d.key),
                func.coalesce(func.sum(d.embedded), 0),
                func.coalesce(func.sum(d.average), 0.0),
            )
        ).one()
    told = [
        index.pair.number,
        index.settings.collection.name,
        [list(row) for row in values],
        list(rows),
        asdict(index.collection.spec),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
