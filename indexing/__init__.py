"""Files to a searchable index: readers, sentences, encoders, collection, catalogue, ingest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexing.catalog import Catalog
    from indexing.errors import WinnowError
    from indexing.ingest import IngestReport, add_paths, delete_document
    from indexing.jobs import run_jobs
    from indexing.session import Index
    from indexing.settings import Settings, load_settings

__all__ = [
    "Catalog",
    "Index",
    "IngestReport",
    "Settings",
    "WinnowError",
    "add_paths",
    "delete_document",
    "load_settings",
    "run_jobs",
]

_HOMES = {
    "Catalog": "indexing.catalog",
    "Index": "indexing.session",
    "IngestReport": "indexing.ingest",
    "Settings": "indexing.settings",
    "WinnowError": "indexing.errors",
    "add_paths": "indexing.ingest",
    "delete_document": "indexing.ingest",
    "load_settings": "indexing.settings",
    "run_jobs": "indexing.jobs",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a command's ``--help`` needs none of them."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'indexing' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
