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
from typing import Any

from sqlalchemy import Connection

from indexing.catalog.records import Window

# Joins source names in one column.
SEPARATOR = "\x1f"

_STATEMENT = """
WITH wanted(hit, doc_id, version, ordinal) AS MATERIALIZED (
  SELECT key, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
  FROM json_each(:wanted))
SELECT w.hit, d.title,
  (SELECT group_concat(s.uri, char(31)) FROM source_documents s
    WHERE s.tenant = d.tenant AND s.doc_id = d.doc_id),
  b.first_ordinal, b.count, b.start, b.text, b.spans, b.pages, d.indexed_at, d.ingested_by
FROM wanted w
CROSS JOIN documents d
  ON d.tenant = :tenant AND d.doc_id = w.doc_id AND d.version = w.version AND d.state = 'live'
CROSS JOIN blocks b
  ON b.document = d.key AND b.first_ordinal <= w.ordinal + :size AND b.first_ordinal >= (
    SELECT max(p.first_ordinal) FROM blocks p
    WHERE p.document = d.key AND p.first_ordinal <= max(w.ordinal - :size, 0))
ORDER BY w.hit, b.first_ordinal
"""


def read_windows(
    connection: Connection, tenant: str, wanted: Sequence[tuple[str, str, int]], size: int
) -> list[Window | None]:
    """Return the window of each ``(doc_id, version, ordinal)``, None where it is not live."""
    found: list[Window | None] = [None] * len(wanted)
    values = {"tenant": tenant, "size": size, "wanted": json.dumps(wanted)}
    by_hit: dict[int, list[Any]] = {}
    for row in connection.exec_driver_sql(_STATEMENT, values).all():
        by_hit.setdefault(row[0], []).append(row)
    for hit, rows in by_hit.items():
        found[hit] = _window(tenant, wanted[hit], size, rows)
    return found


def _window(tenant: str, hit: tuple[str, str, int], size: int, rows: list[Any]) -> Window | None:
    doc_id, version, ordinal = hit
    _, title, uris, _, _, base, joined, *_ = rows[0]
    if len(rows) > 1:
        joined = "".join(row[6] for row in rows)
    lowest = max(ordinal - size, 0)
    spans: list[tuple[int, int]] = []
    pages: list[int | None] = []
    for _, _, _, first_ordinal, count, _, _, packed, packed_pages, *_ in rows:
        offsets = array("i", packed)
        begin = max(lowest - first_ordinal, 0)
        stop = min(ordinal + size + 1 - first_ordinal, count)
        spans.extend((offsets[2 * i], offsets[2 * i + 1]) for i in range(begin, stop))
        if packed_pages is not None:
            numbers = array("i", packed_pages)
            pages.extend(numbers[i] or None for i in range(begin, stop))
    last = lowest + len(spans) - 1
    if last < ordinal:
        return None  # an ordinal that this version does not have
    start, end = spans[0][0], spans[-1][1]
    sources = tuple(sorted((uris or "").split(SEPARATOR)))
    return Window(
        tenant=tenant,
        doc_id=doc_id,
        version=version,
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
        indexed_at=rows[0][9],
        ingested_by=rows[0][10],
    )
