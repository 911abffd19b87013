"""Windows around hits: one statement for all of them, whatever their number.

It is written for SQLite, which reads the wanted hits from one JSON parameter:
the same prepared statement serves every query, and it goes to the driver as it
is: building it from Core elements took longer than the database needed to
answer it.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from indexing.catalog.records import Window
from indexing.identity import split_point_id

# Joins source names in one column.
SEPARATOR = "\x1f"

_STATEMENT = """
WITH wanted(hit, points, ordinal) AS MATERIALIZED (
  SELECT key, json_extract(value, '$[0]'), json_extract(value, '$[1]')
  FROM json_each(:wanted))
SELECT w.hit, d.doc_id, d.version, d.title,
  (SELECT group_concat(s.uri, char(31)) FROM source_documents s
    WHERE s.tenant = d.tenant AND s.doc_id = d.doc_id),
  d.metadata, d.indexed_at, d.ingested_by,
  b.first_ordinal, b.count, b.start, b.text, b.spans, b.pages, b.sections
FROM wanted w
CROSS JOIN documents d
  ON d.points = w.points AND d.tenant = :tenant AND d.state = 'live'
CROSS JOIN blocks b
  ON b.document = d.key AND b.first_ordinal <= w.ordinal + :size AND b.first_ordinal >= (
    SELECT max(p.first_ordinal) FROM blocks p
    WHERE p.document = d.key AND p.first_ordinal <= max(w.ordinal - :size, 0))
"""
_OF_BLOCK = 8  # columns before the block's own
_FIRST_ORDINAL = itemgetter(_OF_BLOCK)


def read_windows(
    connection: Connection, tenant: str, points: Sequence[str], size: int
) -> list[Window | None]:
    """Return the window of each point, None where it is not live."""
    cursor = connection.connection.cursor()
    found: list[Window | None] = [None] * len(points)
    places = [split_point_id(point) for point in points]
    values = {"tenant": tenant, "size": size, "wanted": json.dumps(places)}
    by_hit: dict[int, list[Any]] = {}
    for row in cursor.execute(_STATEMENT, values):
        by_hit.setdefault(row[0], []).append(row)
    for hit, rows in by_hit.items():
        rows.sort(key=_FIRST_ORDINAL)
        found[hit] = _window(tenant, places[hit][1], size, rows)
    return found


def _window(tenant: str, ordinal: int, size: int, rows: list[Any]) -> Window | None:
    _, doc_id, version, title, uris, document_metadata, indexed_at, ingested_by, *_ = rows[0]
    base, joined = rows[0][10], rows[0][11]
    if len(rows) > 1:
        joined = "".join(row[11] for row in rows)
    lowest = max(ordinal - size, 0)
    spans: list[tuple[int, int]] = []
    pages: list[int | None] = []
    section = ""
    for row in rows:
        first_ordinal, count, _, _, packed, packed_pages, sections = row[_OF_BLOCK:]
        begin = max(lowest - first_ordinal, 0)
        stop = min(ordinal + size + 1 - first_ordinal, count)
        offsets = array("i", packed[8 * begin : 8 * stop])
        spans.extend(zip(offsets[::2], offsets[1::2], strict=True))
        if packed_pages is not None:
            pages.extend(number or None for number in array("i", packed_pages[4 * begin : 4 * stop]))
        if 0 <= ordinal - first_ordinal < count:
            section = _section(sections, ordinal - first_ordinal)
    last = lowest + len(spans) - 1
    if last < ordinal:
        return None  # an ordinal that this version does not have
    start, end = spans[0][0], spans[-1][1]
    sources = tuple(sorted((uris or "").split(SEPARATOR)))
    return Window(
        tenant=tenant,
        doc_id=doc_id,
        version=version,
        ordinal=ordinal,
        first=lowest,
        last=last,
        start=start,
        end=end,
        text=joined[start - base : end - base],
        spans=tuple(spans),
        title=title,
        source=sources[0],
        sources=sources,
        pages=tuple(pages),
        indexed_at=indexed_at,
        ingested_by=ingested_by,
        section=section,
        metadata={} if document_metadata == "{}" else json.loads(document_metadata),
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
