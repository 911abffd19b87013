"""Windows around hits: one statement for all of them, whatever their number.

It is written for SQLite and goes to the driver as it is: building it from Core
elements took longer than the database needed to answer it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Any

from indexing.catalog.records import Window
from indexing.identity import split_point_id

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

# Joins source names in one column.
SEPARATOR = "\x1f"

_STATEMENT = """
WITH wanted(hit, points, ordinal) AS MATERIALIZED (VALUES {wanted})
SELECT w.hit, d.doc_id, d.version, d.title,
  (SELECT group_concat(s.uri, char(31)) FROM source_documents s
    WHERE s.tenant = d.tenant AND s.doc_id = d.doc_id),
  d.metadata, d.indexed_at, d.ingested_by,
  b.first_ordinal, b.count, b.start, b.text, b.spans, b.pages, b.sections
FROM wanted w
CROSS JOIN documents d
  ON d.points = w.points AND d.tenant = ?1 AND d.state = 'live'
CROSS JOIN blocks b
  ON b.document = d.key AND b.first_ordinal <= w.ordinal + ?2 AND b.first_ordinal >= (
    SELECT max(p.first_ordinal) FROM blocks p
    WHERE p.document = d.key AND p.first_ordinal <= max(w.ordinal - ?2, 0))
"""
_MOST = 10_000  # hits a statement: SQLite takes 32,766 parameters
_OF_BLOCK = 8  # columns before the block's own
_FIRST_ORDINAL = itemgetter(_OF_BLOCK)
_SPANS = Struct("=2i")
_PAGES = Struct("=i")


def read_windows(cursor: DBAPICursor, tenant: str, points: Sequence[str], size: int) -> list[Window | None]:
    """Return the window of each point, None where it is not live."""
    found: list[Window | None] = [None] * len(points)
    places = [split_point_id(point) for point in points]
    by_hit: dict[int, list[Any]] = {}
    for start in range(0, len(places), _MOST):
        values: list[object] = [tenant, size]
        for place in places[start : start + _MOST]:
            values += place
        cursor.execute(_statement(start, min(len(places), start + _MOST)), values)
        for row in cursor.fetchall():
            by_hit.setdefault(row[0], []).append(row)
    for hit, rows in by_hit.items():
        found[hit] = _window(tenant, places[hit][1], size, rows)
    return found


@lru_cache(64)
def _statement(first: int, stop: int) -> str:
    """The statement for hits number ``first`` up to ``stop``."""
    rows = (f"({first + place}, ?{2 * place + 3}, ?{2 * place + 4})" for place in range(stop - first))
    return _STATEMENT.format(wanted=", ".join(rows))


def _window(tenant: str, ordinal: int, size: int, rows: list[Any]) -> Window | None:
    if len(rows) > 1:
        rows.sort(key=_FIRST_ORDINAL)
    lowest = max(ordinal - size, 0)
    spans: tuple[tuple[int, int], ...] = ()
    pages: tuple[int | None, ...] = ()
    text = section = ""
    _, doc_id, version, title, uris, described, indexed_at, ingested_by, _, _, base, *_ = rows[0]
    for row in rows:
        first_ordinal, count, _, part, packed, packed_pages, sections = row[_OF_BLOCK:]
        begin = max(lowest - first_ordinal, 0)
        stop = min(ordinal + size + 1 - first_ordinal, count)
        spans += tuple(_SPANS.iter_unpack(packed[8 * begin : 8 * stop]))
        if packed_pages is not None:
            numbers = _PAGES.iter_unpack(packed_pages[4 * begin : 4 * stop])
            pages += tuple([number or None for (number,) in numbers])
        if 0 <= ordinal - first_ordinal < count:
            section = _section(sections, ordinal - first_ordinal)
        text += part
    last = lowest + len(spans) - 1
    if last < ordinal:
        return None  # an ordinal that this version does not have
    start, end = spans[0][0], spans[-1][1]
    sources = tuple(sorted(uris.split(SEPARATOR))) if uris else ("",)
    return Window(
        tenant=tenant,
        doc_id=doc_id,
        version=version,
        ordinal=ordinal,
        first=lowest,
        last=last,
        start=start,
        end=end,
        text=text[start - base : end - base],
        spans=spans,
        title=title,
        source=sources[0],
        sources=sources,
        pages=pages,
        indexed_at=indexed_at,
        ingested_by=ingested_by,
        section=section,
        metadata={} if described == "{}" else json.loads(described),
    )


def _section(sections: str, place: int) -> str:
    """The section of a block's sentence number ``place``."""
    for name, count in _runs(sections):
        if place < count:
            return name
        place -= count
    return ""


@lru_cache(4096)
def _runs(sections: str) -> tuple[tuple[str, int], ...]:
    """Runs of (section, sentences) from their JSON; most blocks have one of few."""
    return tuple((name, count) for name, count in json.loads(sections))
