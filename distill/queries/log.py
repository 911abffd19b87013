"""Queries from the service's opt-in log (``serving.query_log``)."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from distill.queries.files import QueryRow
from distill.queries.text import normal, query_id
from distill.records import Query
from indexing.errors import InputError

logger = logging.getLogger(__name__)


def read_query_log(path: Path, *, tenant: str, min_count: int = 1) -> list[QueryRow]:
    """Return the distinct questions of one tenant, the most frequent first.

    Rotated files (``NAME.1`` and so on) are read too.  Each question is given
    in its most frequent spelling.  A line that is cut off, as a killed service
    may leave it, is skipped and counted in the log.

    Raises:
        InputError: there is no such file.
    """
    counts: Counter[str] = Counter()
    spellings: dict[str, Counter[str]] = {}
    for text in _questions(path, tenant):
        key = normal(text)
        if key:
            counts[key] += 1
            spellings.setdefault(key, Counter())[text] += 1
    chosen = [key for key, count in counts.most_common() if count >= min_count]
    texts = [spellings[key].most_common(1)[0][0] for key in chosen]
    return [QueryRow(Query(query_id(text), text), "log") for text in texts]


def _questions(path: Path, tenant: str) -> Iterator[str]:
    files = _oldest_first(path)
    if not files:
        raise InputError(
            f"there is no query log {path}; the service writes one when serving.query_log is set"
        )
    skipped = 0
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    query, whose = row["query"], row["tenant"]
                except (ValueError, KeyError, TypeError):
                    skipped += 1
                    continue
                if whose == tenant and isinstance(query, str):
                    yield query.strip()
    if skipped:
        logger.warning("query_log_skipped lines=%d", skipped)


def _oldest_first(path: Path) -> list[Path]:
    old = [file for file in path.parent.glob(f"{path.name}.*") if file.suffix[1:].isdecimal()]
    files = sorted(old, key=lambda file: -int(file.suffix[1:]))
    return [*files, path] if path.is_file() else files
