"""The files of a home folder that a snapshot takes along, and databases copied while in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from indexing.errors import CatalogError
from indexing.snapshots.manifest import CATALOG

# Locks, cursors, processes' own files, and what is copied in another way.
_LEFT_OUT = frozenset({"collections", "generations", "push", "ingest.lock", "vllm", "vllm-env"})
_LEFT_OUT_SUFFIXES = (".db-wal", ".db-shm", ".log", ".sock", ".pid", ".lock")


def copy_home(home: Path, catalog: Path, target: Path) -> None:
    """Copy the catalogue first, then the other databases and files.

    Uploads that arrive meanwhile belong to no job of the copied catalogue; one
    that a job has used up may go while it is copied.
    """
    target.mkdir(parents=True)
    copy_database(catalog, target / CATALOG)
    for entry in sorted(os.scandir(home), key=lambda entry: entry.name):
        path = Path(entry.path)
        skipped = entry.name in _LEFT_OUT or entry.name.endswith(_LEFT_OUT_SUFFIXES)
        if skipped or entry.name.startswith(".") or path.resolve() == catalog.resolve():
            continue
        if entry.is_dir(follow_symlinks=False):
            _copy_folder(path, target / entry.name)
        elif entry.name.endswith(".db"):
            copy_database(path, target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            shutil.copy2(path, target / entry.name)


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for entry in os.scandir(source):
        try:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    _copy_folder(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                shutil.copy2(entry.path, target / entry.name)
        except FileNotFoundError:
            continue


def copy_database(source: Path, target: Path) -> None:
    """One state of a SQLite database, whoever writes to it meanwhile, in a single file.

    Raises:
        CatalogError: it cannot be read.
    """
    target.touch(mode=0o600)
    try:
        with (
            closing(
                sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)
            ) as reader,
            closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise CatalogError(f"{source} cannot be copied: {error}") from error


def check_database(path: Path) -> int:
    """Check a copied catalogue; returns how many documents it can show.

    Raises:
        CatalogError: it is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as reader:
            (verdict,) = reader.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                raise CatalogError(f"{path} is damaged: {verdict}")
            (count,) = reader.execute("SELECT count(*) FROM documents WHERE state = 'live'").fetchone()
    except sqlite3.Error as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    return int(count)


def sync_tree(folder: Path) -> None:
    """Have every file and folder below on the disk before something names it."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
