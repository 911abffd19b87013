"""The memory home: qdrant-client's local mode, for tests only.

It ignores payload indexes and searches in Python; what it gives is a second
implementation of every query to compare the engine with.
"""

from __future__ import annotations

import warnings

from qdrant_client import AsyncQdrantClient

from indexing.collection.protocol import CollectionSpec
from indexing.collection.qdrant import QdrantCollection, create_collection
from indexing.settings import CollectionSettings


async def open_memory(settings: CollectionSettings, spec: CollectionSpec) -> QdrantCollection:
    """A new empty collection that lives as long as the object."""
    client = AsyncQdrantClient(":memory:")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        await create_collection(client, spec, settings)
    return QdrantCollection(client, spec, settings, "memory", ":memory:")
