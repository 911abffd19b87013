"""``/v1/inspect`` for the page's tests: points of the fake documents, two numbers for a place."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Any

from tests.fakes.page_search import Document

_NEAR = 2


def inspect(documents: Mapping[str, Document], parts: list[str], query: dict[str, str]) -> Any | None:
    """Return the answer to a request below ``/v1/inspect``; None for a point that is not here."""
    rows = [row for item in documents.values() for row in _rows(item)]
    if parts[0] == "points" and len(parts) == 2:
        found = [row for row in rows if row["id"] == parts[1]]
        return _point(found[0], rows) if found else None
    kept = [
        row
        for row in rows
        if row["doc_id"] == query.get("doc_id", row["doc_id"])
        and row["section"].startswith(query.get("section", ""))
        and row["source"] == query.get("source", row["source"])
    ]
    if parts[0] == "map":
        return _map(kept[: int(query["sample"])], len(kept))
    first, limit = int(query.get("after", 0)), int(query.get("limit", 50))
    following = str(first + limit) if first + limit < len(kept) else None
    return {"points": kept[first : first + limit], "next": following, "total": len(kept)}


def _rows(item: Document) -> list[dict[str, Any]]:
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{item.doc_id} {ordinal}")),
            "doc_id": item.doc_id,
            "ordinal": ordinal,
            "title": item.title,
            "section": section,
            "page": page,
            "source": item.sources[0],
            "text": item.text[start:end],
            "start": start,
            "end": end,
        }
        for ordinal, (start, end, section, page) in enumerate(item.sentences)
    ]


def _point(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    beside = [
        other
        for other in rows
        if other["doc_id"] == row["doc_id"] and 0 < abs(other["ordinal"] - row["ordinal"]) <= _NEAR
    ]
    words = sorted(set(re.findall(r"\w+", row["text"].lower())))
    terms: list[dict[str, Any]] = [
        {"index": number, "word": word, "weight": 2.0 - number / 10} for number, word in enumerate(words)
    ]
    terms.append({"index": 4_000_000_000, "word": None, "weight": 0.5})
    return {
        "id": row["id"],
        "payload": {**{name: value for name, value in row.items() if name != "id"}, "tenant": "default"},
        "terms": terms,
        "dense_dimensions": None if row["ordinal"] == 1 else 384,
        "dense_begins": [] if row["ordinal"] == 1 else [0.1234, -0.5],
        "before": [other for other in beside if other["ordinal"] < row["ordinal"]],
        "after": [other for other in beside if other["ordinal"] > row["ordinal"]],
    }


def _map(rows: list[dict[str, Any]], total: int) -> dict[str, Any]:
    ids = list(dict.fromkeys(row["doc_id"] for row in rows))
    titles = {row["doc_id"]: row["title"] for row in rows}
    return {
        "points": [
            {
                "id": row["id"],
                "document": ids.index(row["doc_id"]),
                "x": math.cos(number) * (0.3 + 0.6 * number / len(rows)),
                "y": math.sin(number) * (0.3 + 0.6 * number / len(rows)),
                "text": row["text"],
            }
            for number, row in enumerate(rows)
        ],
        "documents": [{"doc_id": one, "title": titles[one]} for one in ids],
        "explained": 0.314,
        "total": total,
    }
