"""Queries that must never be trained on, by id and by text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.layouts import read_lines
from distill.queries.text import normal
from distill.records import Query
from indexing.errors import InputError

Reason = Literal["id", "text"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Ids and normalised texts of held-out queries."""

    ids: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()

    def refuses(self, query: Query) -> Reason | None:
        """Return why a query must stay out, or None when it may be used."""
        if query.query_id in self.ids:
            return "id"
        return "text" if normal(query.text) in self.texts else None

    def split(self, queries: Iterable[Query]) -> tuple[list[Query], list[tuple[Query, Reason]]]:
        """Return ``(usable, refused)``, the refused ones with the reason."""
        usable: list[Query] = []
        refused: list[tuple[Query, Reason]] = []
        for query in queries:
            reason = self.refuses(query)
            if reason is None:
                usable.append(query)
            else:
                refused.append((query, reason))
        return usable, refused


def read_held_out(paths: Sequence[Path]) -> HeldOut:
    """Return the queries that some files name, plain or gzipped.

    Known layouts: JSON lines with ``query_id`` or ``_id`` and ``query`` or
    ``text`` (queries, candidates, labels); qrels of three or four columns;
    runs of six; tab-separated ids and texts.  A qrels file or a run knows no
    texts, so give the file of queries too.

    Raises:
        InputError: a file cannot be read, names no query, or is of no known
            layout: it must not silently hold out nothing.
    """
    ids: set[str] = set()
    texts: set[str] = set()
    for path in paths:
        found = list(_read(path))
        if not found:
            raise InputError(f"{path} names no query")
        ids.update(query_id for query_id, _ in found)
        texts.update(normal(text) for _, text in found if text is not None and normal(text))
    return HeldOut(frozenset(ids), frozenset(texts))


def _read(path: Path) -> Iterator[tuple[str, str | None]]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        found = _json_row(line) if line.lstrip().startswith("{") else _columns(line)
        if found is None:
            raise InputError(
                f"{path}, line {number}: neither a JSON row with query_id (or _id), nor qrels, nor a run, "
                "nor an id and a text with a tab between them"
            )
        yield found


def _json_row(line: str) -> tuple[str, str | None] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    query_id = row.get("query_id", row.get("_id"))
    text = row.get("query", row.get("text") if "_id" in row else None)
    if not isinstance(query_id, str | int) or not isinstance(text, str | None):
        return None
    return str(query_id), text


def _columns(line: str) -> tuple[str, str | None] | None:
    by_tab = line.rstrip("\r\n").split("\t")
    if len(by_tab) == 2:
        return by_tab[0], by_tab[1]
    columns = line.split()
    return (columns[0], None) if len(columns) in (3, 4, 6) else None
