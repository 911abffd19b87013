"""The catalogue of documents, text, sources and jobs (SQLAlchemy Core over SQLite)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexing.catalog.records import DocumentRecord, JobRecord, SourceRecord, Totals, Window

if TYPE_CHECKING:
    from indexing.catalog.catalog import Catalog, open_catalog

__all__ = ["Catalog", "DocumentRecord", "JobRecord", "SourceRecord", "Totals", "Window", "open_catalog"]


def __getattr__(name: str) -> object:
    """Import what needs SQLAlchemy when it is first used: a parser process needs the records alone."""
    if name not in ("Catalog", "open_catalog"):
        raise AttributeError(f"module 'indexing.catalog' has no attribute {name!r}")
    from indexing.catalog import catalog

    return getattr(catalog, name)
