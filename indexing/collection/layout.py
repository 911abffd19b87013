"""The embedded collection's folder: what lies where, and its description file.

::

    collections/<name>/
    ├── collection.json   the spec and what was fixed at creation
    ├── CURRENT           the name of the shard folder that counts
    ├── shards/000001/    one generation of the engine's own files
    ├── damaged/          what ``repair`` kept aside
    ├── engine.lock       held by the one process that owns the shard
    ├── engine.addr       where that process listens
    └── engine.log        its log
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from indexing.collection.protocol import CollectionSpec
from indexing.errors import CollectionError, DamagedShardError
from indexing.settings import CollectionSettings, Settings

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EngineParameters:
    """What the engine's files were built with; fixed when they are created."""

    quantization: str = "none"
    hnsw_m: int = 16
    hnsw_ef_construct: int = 100
    tokens_format: str = "8bit"

    @classmethod
    def of(cls, settings: CollectionSettings) -> EngineParameters:
        return cls(settings.quantization, settings.hnsw_m, settings.hnsw_ef_construct, settings.tokens_format)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths inside one embedded collection."""

    folder: Path

    @property
    def description(self) -> Path:
        return self.folder / "collection.json"

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def pointer(self) -> Path:
        return self.folder / "CURRENT"

    @property
    def damaged(self) -> Path:
        return self.folder / "damaged"

    @property
    def lock(self) -> Path:
        return self.folder / "engine.lock"

    @property
    def address(self) -> Path:
        return self.folder / "engine.addr"

    @property
    def log(self) -> Path:
        return self.folder / "engine.log"

    @property
    def spill(self) -> Path:
        return self.folder / "journal.spill"


def layout_of(settings: Settings) -> Layout:
    """Where the embedded collection of these settings lives."""
    return Layout(settings.home.absolute() / "collections" / settings.collection.name)


def write_description(layout: Layout, spec: CollectionSpec, parameters: EngineParameters) -> bool:
    """Create ``collection.json`` unless it is there; whether this call created it.

    A hard link makes the creation atomic: of several processes one wins, and
    nobody ever reads half a file.
    """
    layout.folder.mkdir(parents=True, exist_ok=True)
    body = {"format": _FORMAT, "spec": asdict(spec), "parameters": asdict(parameters)}
    draft = layout.folder / f".collection.json.{os.getpid()}"
    write_durably(draft, json.dumps(body, indent=2, ensure_ascii=False) + "\n")
    try:
        os.link(draft, layout.description)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_folder(layout.folder)
    return True


def read_description(layout: Layout) -> tuple[CollectionSpec, EngineParameters]:
    """The spec and parameters of the collection in this folder.

    Raises:
        CollectionError: there is none, or a newer version wrote it.
        FingerprintMismatchError: an earlier version named its points.
        DamagedShardError: the file cannot be read.
    """
    try:
        body = json.loads(layout.description.read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise CollectionError(
                f"{layout.description} has format {body['format']!r}; this version reads format {_FORMAT}"
            )
        return CollectionSpec.stored(body["spec"]), EngineParameters(**body["parameters"])
    except FileNotFoundError as error:
        raise CollectionError(
            f"no collection in {layout.folder}; create one with: python -m indexing PATH"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedShardError(
            f"{layout.description} cannot be read ({error}); run: python -m indexing reindex"
        ) from error


def write_durably(path: Path, text: str) -> None:
    """Write a small file and fsync it; not atomic by itself."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, text: str) -> None:
    """Replace a small file atomically: after a crash the old text or the new one is there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write_durably(draft, text)
    os.replace(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
