"""What a snapshot says of itself: every file with its hash, every collection with its counts.

::

    SNAPSHOT/
    ├── manifest.json            written last: without it this is no snapshot
    ├── home/                    catalogue, conversations, keys, uploads, models
    └── collections/<name>/      the engine's files; of a server: <name>.snapshot
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from indexing.collection.layout import replace_durably
from indexing.errors import InputError, MismatchError

FORMAT = 1
MANIFEST = "manifest.json"
HOME = "home"
COLLECTIONS = "collections"
CATALOG = "catalog.db"


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
    """``files`` by their path in the snapshot, each with SHA-256 and size in bytes."""

    created_at: str
    kind: Literal["embedded", "server"]
    generation: int
    documents: int
    collections: list[CollectionEntry]
    files: dict[str, tuple[str, int]]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    body = {"format": FORMAT, **asdict(manifest)}
    replace_durably(folder / MANIFEST, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of this snapshot.

    Raises:
        InputError: the folder has none, or a newer version wrote it.
        MismatchError: the file is damaged.
    """
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body.pop("format") != FORMAT:
            raise InputError(f"{path} was written by another version; this one reads format {FORMAT}")
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
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest, stream.tell()


def hash_all(folder: Path) -> dict[str, tuple[str, int]]:
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files_below(folder)}


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest.

    Raises:
        MismatchError: a file is missing, was added or has other bytes.
    """
    found = hash_all(folder)
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
