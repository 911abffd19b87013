"""Put a snapshot into an empty home folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from indexing.bridge import Bridge
from indexing.collection.generations import copy_tree
from indexing.collection.layout import sync_folder, write_durably
from indexing.errors import CollectionError, InputError
from indexing.settings import Settings
from indexing.snapshots.files import sync_tree
from indexing.snapshots.manifest import COLLECTIONS, HOME, Manifest, check_hashes, read_manifest

_STAGING = ".restoring"
_WHOLE = "WHOLE"


def restore_snapshot(folder: Path, settings: Settings) -> Manifest:
    """Copy a snapshot into ``settings.home``; returns its manifest.

    The files are copied below a hidden folder first and renamed into place when
    all of them are on the disk, the catalogue last. Killed anywhere, it is
    finished by restoring the same snapshot again.

    Raises:
        InputError: the home folder is not empty, a setting says that the
            catalogue is elsewhere, or the folder is no snapshot.
        MismatchError: the snapshot is damaged.
        CollectionError: a file could not be written, or the server refuses.
    """
    manifest = read_manifest(folder)
    if settings.catalog.url is not None:
        raise InputError("restore puts the catalogue into the home folder; leave catalog.url unset")
    home = settings.home
    staging = home / _STAGING
    try:
        if not (staging / _WHOLE).exists():
            if home.exists() and any(path != staging for path in home.iterdir()):
                raise InputError(f"{home} is not empty; restore into a folder that is empty or not there")
            check_hashes(folder, manifest)
            _stage(folder, manifest, staging)
        if manifest.kind == "server":
            with Bridge() as bridge:
                bridge(_to_server, folder, manifest, settings)
        _move_into_place(staging, home)
    except OSError as error:
        raise CollectionError(f"the snapshot could not be restored: {error}") from error
    return manifest


def _stage(folder: Path, manifest: Manifest, staging: Path) -> None:
    if staging.exists():
        shutil.rmtree(staging)
    staging.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / HOME, staging)
    if manifest.kind == "embedded":
        copy_tree(folder / COLLECTIONS, staging / COLLECTIONS)
    sync_tree(staging)
    write_durably(staging / _WHOLE, "")
    sync_folder(staging)


def _move_into_place(staging: Path, home: Path) -> None:
    """Rename everything; the catalogue last, since an index without it is no index."""
    names = sorted(
        (path.name for path in staging.iterdir() if path.name != _WHOLE),
        key=lambda name: (name.endswith(".db"), name == "catalog.db", name),
    )
    for name in names:
        os.rename(staging / name, home / name)
    sync_folder(home)
    (staging / _WHOLE).unlink()
    staging.rmdir()


async def _to_server(folder: Path, manifest: Manifest, settings: Settings) -> None:
    """Give the server every collection that it does not have.

    Raises:
        InputError: it has one of another content already.
    """
    from indexing.collection import open_collection
    from indexing.snapshots.samples import check
    from indexing.snapshots.server import exists, upload

    for entry in manifest.collections:
        chosen = settings.collection.model_copy(update={"home": "server", "name": entry.name})
        there = settings.model_copy(update={"collection": chosen})
        if not await exists(chosen):
            await upload(chosen, folder / COLLECTIONS / f"{entry.name}.snapshot")
        collection = await open_collection(there, None)
        try:
            await check(collection, entry)
        except CollectionError as error:
            raise InputError(
                f"the server has a collection {entry.name!r} that is not the snapshot's ({error}); "
                "delete it first"
            ) from error
        finally:
            await collection.close()
