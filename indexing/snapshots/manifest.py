"""What a snapshot says of itself: every file with its hash, every collection with its counts.

::

    SNAPSHOT/
    ├── manifest.json            written last: without it this is no snapshot
    ├── home/                    catalogue, conversations, keys, uploads, models
    └── collections/<name>/      the engine's files; of a server: <name>.snapshot
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from indexing.collection.layout import replace_durably
from indexing.errors import InputError, MismatchError

# 1: files hashed whole.  2: by their blocks, without the zeros.
FORMAT = 2
_WHOLE_FILES = 1
MANIFEST = "manifest.json"
HOME = "home"
COLLECTIONS = "collections"
CATALOG = "catalog.db"
_BLOCK = 65_536
_ZEROS = bytes(_BLOCK)


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """One collection: its points by tenant, and queries with what they found.

    ``samples``: of each, a point whose vectors are the query, its tenant, and
    the ids and scores found on both sides.
    """

    name: str
    points: int
    tenants: Mapping[str, int]
    samples: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """``files`` by their path in the snapshot, each with the hash of its format and its size in bytes."""

    created_at: str
    kind: Literal["embedded", "server"]
    generation: int
    documents: int
    collections: list[CollectionEntry]
    files: dict[str, tuple[str, int]]
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    replace_durably(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of this snapshot.

    Raises:
        InputError: the folder has none, or a newer version wrote it.
        MismatchError: the file is damaged.
    """
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] not in (_WHOLE_FILES, FORMAT):
            raise InputError(f"{path} was written by another version; this one reads formats 1 to {FORMAT}")
        files = {name: (str(digest), int(size)) for name, (digest, size) in body.pop("files").items()}
        collections = [CollectionEntry(**entry) for entry in body.pop("collections")]
        return Manifest(**body, collections=collections, files=files)
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no snapshot: it has no {MANIFEST}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MismatchError(f"{path} is damaged ({error})") from error


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below ``folder``, the manifest left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield path


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 and size, as ``sha256sum`` has it."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest, stream.tell()


def hash_blocks(path: Path) -> tuple[str, int]:
    """SHA-256 of the blocks that are not all zeros, each behind its offset, then of the size; and the size.

    The engine lays its files out far beyond what they hold: a small index is
    223 MB of which 8 are on the disk.  Whether zeros are stored or a hole does
    not matter, so copies made by any tool have the same hash.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        for offset, block in _blocks(stream.fileno(), size):
            digest.update(offset.to_bytes(8, "big"))
            digest.update(block)
    digest.update(size.to_bytes(8, "big"))
    return digest.hexdigest(), size


def _blocks(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of every block that is not all zeros; holes are not even read."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        block = os.pread(descriptor, _BLOCK, offset)
        if block != _ZEROS[: len(block)]:
            yield offset, block
        offset += _BLOCK


def hash_all(folder: Path, format: int = FORMAT) -> dict[str, tuple[str, int]]:
    """Every file's hash and size by its path below ``folder``, as snapshots of this format have them."""
    hashed = hash_file if format == _WHOLE_FILES else hash_blocks
    return {path.relative_to(folder).as_posix(): hashed(path) for path in files_below(folder)}


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest.

    Raises:
        MismatchError: a file is missing, was added or has other bytes.
    """
    found = hash_all(folder, manifest.format)
    wrong = [
        *(f"{name} is missing" for name in manifest.files if name not in found),
        *(f"{name} does not belong here" for name in found if name not in manifest.files),
        *(
            f"{name} has other bytes"
            for name, entry in found.items()
            if name in manifest.files and entry != manifest.files[name]
        ),
    ]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MismatchError(f"the snapshot {folder} is damaged: " + "; ".join(wrong[:5]) + more)
