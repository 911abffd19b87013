"""The catalogue's list of generations: which collection is served, and which stands beside it.

The row that says ``served`` is the alias.  It moves in the transaction that
exchanges the two generations' progress, so no crash can leave one without the
other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, delete, func, insert, literal, select, update

from indexing.catalog.engine import snapshot, writing
from indexing.catalog.lifecycle import AVERAGE_KEY
from indexing.catalog.schema import documents, generations, meta, mirrored
from indexing.errors import CatalogError

FIRST = 1

_REPLACED_KEY = "replaced_encoders"
State = Literal["served", "beside", "dropping"]
_g = generations.c
_d = documents.c
_m = mirrored.c
_PROGRESS = ("source", "terms", "embedded", "average")


@dataclass(frozen=True, slots=True)
class Generation:
    """One collection of the index.

    Attributes:
        collection: its name: a folder of the home, or a collection of the server.
        encoders: the encoder settings that decide its vectors.
        parameters: the collection settings that were fixed when it was created.
        trouble: why it lacks the latest writes; "" when it has them.
    """

    number: int
    state: State
    collection: str
    encoders: Mapping[str, Any]
    parameters: Mapping[str, Any]
    comparison: Mapping[str, Any] | None
    trouble: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The served generation and the other one; neither is listed before the first migration.

    ``replaced`` are the encoders of the generation that was dropped last: a
    configuration that was not changed since still names them.
    """

    served: Generation | None = None
    other: Generation | None = None
    replaced: Mapping[str, Any] | None = None

    @property
    def number(self) -> int:
        """Number of the generation that is served."""
        return FIRST if self.served is None else self.served.number

    @property
    def beside(self) -> Generation | None:
        """The other one while writes go to it as well."""
        return self.other if self.other is not None and self.other.state == "beside" else None


@dataclass(frozen=True, slots=True)
class Debt:
    """What the generation beside lacks, in live documents and their sentences."""

    documents: int
    sentences: int


class GenerationTable:
    """Reads for everyone; the caller of a write holds the writer lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._snapshot = snapshot(engine)
        self._writing = writing(engine)

    def pair(self) -> Pair:
        """Return which generation is served now, and which is not."""
        columns = [column for column in generations.columns if column.name != "average"]
        with self._snapshot.connect() as connection:
            found = [_generation(row) for row in connection.execute(select(*columns).order_by(_g.number))]
            if not found:
                return Pair()
            replaced = connection.scalar(select(meta.c.value).where(meta.c.key == _REPLACED_KEY))
        served = [one for one in found if one.state == "served"]
        others = [one for one in found if one.state != "served"]
        if len(served) != 1 or len(others) > 1:
            raise CatalogError(
                f"the catalogue lists {len(served)} served and {len(others)} other generations"
            )
        return Pair(
            served[0], others[0] if others else None, None if replaced is None else json.loads(replaced)
        )

    def average(self, number: int) -> float | None:
        """Return the average length that a generation's sparse vectors are made with."""
        with self._snapshot.connect() as connection:
            if number == _served_number(connection):
                value = connection.scalar(select(meta.c.value).where(meta.c.key == AVERAGE_KEY))
            else:
                value = connection.scalar(select(_g.average).where(_g.number == number))
        return None if value is None else float(value)

    def begin(self, served: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
        """List the two generations and queue every live document for the new one.

        Args:
            served: ``collection``, ``encoders`` and ``parameters`` of the one in use.
            beside: the same of the new one; its collection is named after its number.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing.begin() as connection:
            highest = connection.scalar(select(func.max(_g.number)))
            if highest is None:
                row = {**served, "number": FIRST, "state": "served", "trouble": "", "created_at": now}
                connection.execute(insert(generations).values(row))
                highest = FIRST
            known = {"encoders": served["encoders"], "parameters": served["parameters"]}
            connection.execute(update(generations).where(_g.state == "served").values(known))
            number = int(highest) + 1
            name = f"{beside['collection']}.g{number}"
            row = {**beside, "collection": name, "number": number, "state": "beside"}
            connection.execute(insert(generations).values({**row, "trouble": "", "created_at": now}))
            connection.execute(delete(mirrored))
            queue = ("document", "queued", "source", "embedded")
            live = select(_d.key, literal(True), literal(""), literal(0)).where(_d.state == "live")
            connection.execute(insert(mirrored).from_select(queue, live))

    def debt(self, *, queued: bool | None = None) -> Debt:
        """Return what the generation beside lacks: all of it, the backfill's part, or later writes."""
        query = (
            select(func.count(), func.coalesce(func.sum(_d.sentences - func.coalesce(_m.embedded, 0)), 0))
            .select_from(documents.outerjoin(mirrored, _m.document == _d.key))
            .where(_d.state == "live", func.coalesce(_m.embedded, 0) < _d.sentences)
        )
        if queued is not None:
            query = query.where(func.coalesce(_m.queued, False).is_(queued))
        with self._engine.connect() as connection:
            row = connection.execute(query).one()
        return Debt(int(row[0]), int(row[1]))

    def note(self, number: int, *, trouble: str | None = None, comparison: Any = None) -> None:
        """Store what was found out about a generation; what is None stays."""
        values = {"trouble": trouble, "comparison": comparison}
        given = {name: value for name, value in values.items() if value is not None}
        with self._writing.begin() as connection:
            connection.execute(update(generations).where(_g.number == number).values(given))

    def switch(self) -> None:
        """Serve the generation beside from now on; the other one is kept beside it.

        Raises:
            CatalogError: there is none, or it lacks something.
        """
        with self._writing.begin() as connection:
            rows = {row.state: row for row in connection.execute(select(_g.number, _g.state, _g.average))}
            if set(rows) != {"served", "beside"}:
                raise CatalogError("there is no generation to switch to")
            behind = connection.scalar(_BEHIND)
            if behind:
                raise CatalogError(f"the other generation lacks {behind} documents; nothing was switched")
            old, new = rows["served"], rows["beside"]
            before = connection.scalar(select(meta.c.value).where(meta.c.key == AVERAGE_KEY))
            connection.execute(delete(meta).where(meta.c.key == AVERAGE_KEY))
            if new.average is not None:
                connection.execute(insert(meta).values(key=AVERAGE_KEY, value=repr(new.average)))
            _exchange_progress(connection)
            kept = {"state": "beside", "average": None if before is None else float(before)}
            connection.execute(update(generations).where(_g.number == old.number).values(kept))
            taken = {"state": "served", "average": None}
            connection.execute(update(generations).where(_g.number == new.number).values(taken))

    def begin_drop(self) -> None:
        """Send no more writes to the other generation."""
        with self._writing.begin() as connection:
            connection.execute(update(generations).where(_g.state == "beside").values(state="dropping"))
            connection.execute(delete(mirrored))

    def end_drop(self) -> None:
        """Forget the other generation, whose collection is gone."""
        with self._writing.begin() as connection:
            encoders = connection.scalar(select(_g.encoders).where(_g.state == "dropping"))
            if encoders is not None:
                connection.execute(delete(meta).where(meta.c.key == _REPLACED_KEY))
                connection.execute(insert(meta).values(key=_REPLACED_KEY, value=json.dumps(encoders)))
            connection.execute(delete(generations).where(_g.state == "dropping"))


_BEHIND = (
    select(func.count())
    .select_from(documents.outerjoin(mirrored, _m.document == _d.key))
    .where(
        (_d.state == "staged")
        | ((_d.state == "live") & ((func.coalesce(_m.embedded, 0) < _d.sentences) | _m.document.is_(None)))
    )
)


def _generation(row: Sequence[Any]) -> Generation:
    return Generation(*row)


def _served_number(connection: Connection) -> int:
    found = connection.scalar(select(_g.number).where(_g.state == "served"))
    return FIRST if found is None else int(found)


def _exchange_progress(connection: Connection) -> None:
    """Swap the columns of ``documents`` and ``mirrored``; readers see all of it or nothing."""
    names = ", ".join(_PROGRESS)
    for statement in (
        f"CREATE TEMP TABLE old_progress AS SELECT key, {names} FROM documents WHERE state = 'live'",  # noqa: S608
        f"UPDATE documents SET ({names}) = "  # noqa: S608
        f"(SELECT {names} FROM mirrored WHERE document = key) WHERE state = 'live'",
        "DELETE FROM mirrored",
        f"INSERT INTO mirrored (document, queued, {names}) SELECT key, 0, {names} FROM old_progress",  # noqa: S608
        "DROP TABLE old_progress",
    ):
        connection.exec_driver_sql(statement)
