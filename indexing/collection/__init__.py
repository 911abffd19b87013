"""The vector collection: one asynchronous protocol, three homes, the same results."""

from __future__ import annotations

from indexing.collection.filters import Condition, Filter, parse_filter
from indexing.collection.protocol import (
    Collection,
    CollectionInfo,
    CollectionSpec,
    StoredPoint,
    check_spec,
)
from indexing.errors import CollectionError, FingerprintMismatchError
from indexing.settings import Settings

__all__ = [
    "Collection",
    "CollectionInfo",
    "CollectionSpec",
    "Condition",
    "Filter",
    "StoredPoint",
    "drop_collection",
    "open_collection",
    "parse_filter",
]


async def open_collection(settings: Settings, spec: CollectionSpec | None) -> Collection:
    """The collection of these settings, created when absent and ``spec`` is given.

    Args:
        settings: which home, where, and how.
        spec: what the configured encoders make; None opens what is there.

    Raises:
        CollectionError: nothing is there and ``spec`` is None.
        FingerprintMismatchError: other encoders built what is there.
        CollectionUnavailableError: the engine or the server does not answer.
        DamagedShardError: the description of an embedded collection is damaged;
            damage of the shard itself is raised by the first operation.
    """
    # Each home brings its own engine or client: only the one in use is imported.
    if settings.collection.home == "embedded":
        from indexing.collection.embedded import open_embedded

        return await open_embedded(settings, spec)
    if settings.collection.home == "memory":
        if spec is None:
            raise CollectionError("the memory home is always empty when opened; run: python -m indexing PATH")
        from indexing.collection.memory import open_memory

        return await open_memory(settings.collection, spec)
    from indexing.collection.server import open_server

    collection = await open_server(settings.collection, spec)
    if collection is None:
        raise CollectionError(
            f"no collection {settings.collection.name!r} on the server; run: python -m indexing PATH"
        )
    if spec is not None:
        try:
            check_spec(collection.spec, spec)
        except FingerprintMismatchError:
            await collection.close()
            raise
    return collection


async def drop_collection(settings: Settings) -> None:
    """Delete the collection with all its points; nothing happens when there is none.

    A ``reindex`` with other encoders does this before it creates the new one.
    """
    if settings.collection.home == "embedded":
        from indexing.collection.embedded import drop_embedded

        await drop_embedded(settings)
    elif settings.collection.home == "server":
        from indexing.collection.server import drop_server

        await drop_server(settings.collection)
