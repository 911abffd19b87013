"""Queries in files: read from what people have, written as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.layouts import read_lines
from distill.queries.text import normal, query_id
from distill.records import Passage, Query
from indexing.errors import InputError

Source = Literal["file", "log", "generated"]


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query, where it is from, and the passage that is known to answer it."""

    query: Query
    source: Source
    positive: Passage | None = None

    def as_json(self) -> str:
        row: dict[str, object] = {
            "query_id": self.query.query_id,
            "query": self.query.text,
            "source": self.source,
        }
        if self.positive is not None:
            row["positive"] = {"doc_id": self.positive.doc_id, "text": self.positive.text}
        return json.dumps(row, ensure_ascii=False)


def read_queries(path: Path) -> list[QueryRow]:
    """Return the queries of a file, the first of each normalised text.

    JSON lines (``query_id`` or ``_id``, ``query`` or ``text``, perhaps
    ``positive``: {"doc_id", "text"}); or text, one query a line, perhaps with
    an id and a tab before it.  A query without an id gets one from its text.

    Raises:
        InputError: the file cannot be read, holds no query, or a row is not of
            these layouts.
    """
    rows = list(distinct(_read(path)))
    if not rows:
        raise InputError(f"{path} holds no query")
    return rows


def distinct(rows: Iterable[QueryRow]) -> Iterator[QueryRow]:
    """Yield the first row of each normalised text; texts without a letter or digit are dropped."""
    seen: set[str] = set()
    for row in rows:
        key = normal(row.query.text)
        if key and key not in seen:
            seen.add(key)
            yield row


def _read(path: Path) -> Iterator[QueryRow]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        if line.lstrip().startswith("{"):
            yield _json_row(line, f"{path}, line {number}")
        else:
            head, tab, tail = line.strip().partition("\t")
            text = tail.strip() if tab else head
            yield QueryRow(Query(head if tab else query_id(text), text), "file")


def _json_row(line: str, where: str) -> QueryRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    text = row.get("query", row.get("text"))
    if not isinstance(text, str):
        raise InputError(f"{where}: a row needs 'query' or 'text'")
    chosen = row.get("query_id", row.get("_id"))
    positive = row.get("positive")
    if positive is not None:
        try:
            positive = Passage(str(positive["doc_id"]), str(positive["text"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: 'positive' needs doc_id and text") from error
    source = row.get("source")
    return QueryRow(
        Query(query_id(text) if chosen is None else str(chosen), text.strip()),
        source if source in ("file", "log", "generated") else "file",
        positive,
    )
