"""The catalogue of documents, text, sources and jobs (SQLAlchemy Core over SQLite)."""

from indexing.catalog.catalog import Catalog, open_catalog
from indexing.catalog.records import DocumentRecord, JobRecord, SourceRecord, Totals, Window

__all__ = ["Catalog", "DocumentRecord", "JobRecord", "SourceRecord", "Totals", "Window", "open_catalog"]
