"""Is a snapshot whole, and does it answer as the index did? Nothing in it is written to."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from indexing.bridge import Bridge
from indexing.collection import drop_collection, open_collection
from indexing.collection.engine_control import exclusive
from indexing.collection.generations import copy_tree
from indexing.collection.layout import Layout
from indexing.errors import MismatchError
from indexing.settings import Settings
from indexing.snapshots.files import check_database
from indexing.snapshots.manifest import (
    CATALOG,
    COLLECTIONS,
    HOME,
    CollectionEntry,
    Manifest,
    check_hashes,
    read_manifest,
)
from indexing.snapshots.samples import check


def verify_snapshot(folder: Path, settings: Settings) -> Manifest:
    """Check hashes, the catalogue, counts and sample queries; returns the manifest.

    The engine writes to what it opens, so it is given a copy in the temporary
    folder; a server's snapshot goes into a collection of another name on the
    configured server, which is dropped again.

    Raises:
        InputError: the folder is no snapshot.
        MismatchError: something in it is not as it was.
        CatalogError, CollectionError: a part does not open.
    """
    manifest = read_manifest(folder)
    check_hashes(folder, manifest)
    documents = check_database(folder / HOME / CATALOG)
    if documents != manifest.documents:
        raise MismatchError(f"the catalogue has {documents} documents instead of {manifest.documents}")
    with Bridge() as bridge:
        for entry in manifest.collections:
            if manifest.kind == "embedded":
                with tempfile.TemporaryDirectory(prefix="winnow-verify-") as place:
                    bridge(_check_shard, folder / COLLECTIONS / entry.name, entry, settings, Path(place))
            else:
                bridge(_check_on_server, folder / COLLECTIONS, entry, settings)
    return manifest


async def _check_shard(source: Path, entry: CollectionEntry, settings: Settings, place: Path) -> None:
    layout = Layout(place / COLLECTIONS / entry.name)
    layout.folder.parent.mkdir(parents=True)
    copy_tree(source, layout.folder)
    chosen = {"home": "embedded", "name": entry.name, "optimize_after": 0, "idle_exit_s": 0.0}
    opened = settings.model_copy(
        update={"home": place, "collection": settings.collection.model_copy(update=chosen)}
    )
    collection = await open_collection(opened, None)
    try:
        await check(collection, entry)
    finally:
        await collection.close()
        async with exclusive(layout):
            pass  # the engine has left: its files can be removed


async def _check_on_server(folder: Path, entry: CollectionEntry, settings: Settings) -> None:
    from indexing.snapshots.server import upload

    name = f"{entry.name[:40]}.verify-{uuid.uuid4().hex[:8]}"
    chosen = settings.collection.model_copy(update={"home": "server", "name": name})
    tried = settings.model_copy(update={"collection": chosen})
    try:
        await upload(chosen, folder / f"{entry.name}.snapshot")
        collection = await open_collection(tried, None)
        try:
            await check(collection, entry)
        finally:
            await collection.close()
    finally:
        await drop_collection(tried)
