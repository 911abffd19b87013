"""Make a snapshot while the service runs: writes wait, searches go on."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from indexing.collection.embedded import EmbeddedCollection
from indexing.collection.layout import Layout, layout_of, sync_folder, write_durably
from indexing.errors import CollectionError, InputError
from indexing.ingest import writing
from indexing.session import Index
from indexing.snapshots.files import check_database, copy_home, sync_tree
from indexing.snapshots.manifest import (
    CATALOG,
    COLLECTIONS,
    HOME,
    CollectionEntry,
    Manifest,
    hash_all,
    write_manifest,
)
from indexing.snapshots.samples import describe

_FIRST_SHARD = "000001"


def create_snapshot(index: Index, target: Path, *, queries: int = 20, seed: int = 0) -> Manifest:
    """Copy catalogue, collections, jobs, conversations and keys of one moment into a new folder.

    It is made under another name and renamed when it is whole and on the disk:
    a folder of the name asked for is a whole snapshot, whenever this is killed.

    Raises:
        InputError: the folder exists or is inside the home folder, or the
            catalogue is not SQLite.
        IngestBusyError: another process went on writing for too long.
        CollectionError, CatalogError: something could not be copied.
    """
    target = target.absolute()
    if target.exists():
        raise InputError(f"{target} exists; name a folder that does not")
    if target.is_relative_to(index.settings.home):
        raise InputError(f"{target} is inside the home folder, which it copies; name one elsewhere")
    draft = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    with suppress(FileNotFoundError):
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700, parents=True)  # hashes of keys, and texts
    try:
        manifest = _fill(index, draft, queries, seed)
        index.checkpoint("snapshot-filled")
        sync_tree(draft)
        write_manifest(draft, manifest)
        index.checkpoint("snapshot-described")
        os.rename(draft, target)
        sync_folder(target.parent)
    except OSError as error:
        raise CollectionError(f"the snapshot could not be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _fill(index: Index, draft: Path, queries: int, seed: int) -> Manifest:
    with writing(index):
        catalog = _catalog_file(index)
        copy_home(index.settings.home, catalog, draft / HOME)
        index.checkpoint("snapshot-home")
        sides = [index, *([index.mirror] if index.mirror is not None else [])]
        entries = [_copy_collection(side, draft / COLLECTIONS, queries, seed) for side in sides]
        generation = index.pair.number
    return Manifest(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kind="embedded" if index.settings.collection.home == "embedded" else "server",
        generation=generation,
        documents=check_database(draft / HOME / CATALOG),
        collections=entries,
        files=hash_all(draft),
    )


def _catalog_file(index: Index) -> Path:
    url = index.catalog.engine.url
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise InputError(
            f"a snapshot takes a catalogue in SQLite along, this one is in {url.get_backend_name()}; "
            "back it up with the database's own tools"
        )
    return Path(url.database)


def _copy_collection(side: Index, target: Path, queries: int, seed: int) -> CollectionEntry:
    name = side.settings.collection.name
    tenants = side.catalog.tenants()
    collection = side.collection
    entry = side.bridge(describe, collection, name, tenants, queries, seed)
    target.mkdir(exist_ok=True)
    if isinstance(collection, EmbeddedCollection):
        folder = Layout(target / name)
        folder.shards.mkdir(parents=True)
        shutil.copy2(layout_of(side.settings).description, folder.description)
        side.checkpoint("snapshot-shard")
        side.bridge(collection.copy_shard, folder.shards / _FIRST_SHARD)
        write_durably(folder.pointer, _FIRST_SHARD + "\n")
    else:
        from indexing.snapshots.server import download

        side.bridge(download, side.settings.collection, target / f"{name}.snapshot")
    return entry
