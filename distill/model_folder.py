"""A student's folder: weights, tokenizer, config, and a manifest that says what it is.

::

    my-student/
    ├── model.json          this record, with the hash of every other file
    ├── *.safetensors       weights; at any depth, as sentence-transformers saves them
    ├── tokenizer.json ...  what sentence-transformers needs to load it
    └── README.md           texts (also MODEL_CARD.md, LICENSE, NOTICE) are not hashed

Pickled weights and ``auto_map`` can run code when they are loaded
(CVE-2025-32434, CVE-2026-5241): a folder with either is refused, and so is a
file that the manifest does not list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from distill.errors import RegistryError
from indexing.encoders.manifest import refuse_pickles, sha256_of
from indexing.errors import EncoderError

MODEL_MANIFEST = "model.json"
TEXTS = frozenset({"README.md", "MODEL_CARD.md", "LICENSE", "NOTICE"})

StudentKind = Literal["cross-encoder", "late-interaction"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingRecord(_Part):
    """How a student came to be; enough to tell two runs apart."""

    data: str = Field("", description="fingerprint of the training lists")
    lists: int = Field(0, ge=0)
    queries: int = Field(0, ge=0)
    recipe: Mapping[str, JsonValue] = Field(default_factory=dict, description="the training settings")
    seed: int = 0
    steps: int = Field(0, ge=0)
    commit: str | None = None


class ModelManifest(_Part):
    """What a student's folder holds."""

    format: Literal[1] = 1
    kind: StudentKind | Literal["dense"] = Field(description="dense: an encoder, written by distill embed")
    name: str = Field(min_length=1, max_length=128)
    base: str = Field(min_length=1, description="the model it was trained from")
    scripts: tuple[str, ...] | None = Field(None, description="writing systems it reads; None: all")
    max_tokens: int = Field(ge=8)
    training: TrainingRecord = TrainingRecord()
    teachers: tuple[Mapping[str, JsonValue], ...] = Field((), description="the teachers' cards")
    metrics: Mapping[str, JsonValue] = Field(default_factory=dict)
    licence: str = "not stated"
    files: Mapping[str, str] = Field(default_factory=dict, description="path in the folder -> SHA-256")


def write_model_folder(folder: Path, manifest: ModelManifest) -> ModelManifest:
    """Write ``model.json`` for the files that are in ``folder``; return it with their hashes.

    The manifest goes in last and whole (a temporary file, then a rename), so a
    folder that has one is complete.

    Raises:
        RegistryError: no safetensors weights, a pickled file, a link, remote code.
    """
    _refuse_unsafe(folder)
    files = {name: sha256_of(folder / name) for name in sorted(_present(folder))}
    complete = manifest.model_copy(update={"files": files})
    _write_whole(folder / MODEL_MANIFEST, complete.model_dump_json(indent=2) + "\n")
    return complete


def read_model_folder(folder: Path) -> ModelManifest:
    """Return the manifest of ``folder`` after checking every file against it.

    Raises:
        RegistryError: no manifest or a malformed one; a file that is missing,
            unknown, pickled, or differs from its hash; remote code.
    """
    manifest = _parse(folder / MODEL_MANIFEST)
    _refuse_unsafe(folder)
    present = _present(folder)
    unknown = sorted(present - set(manifest.files))
    if unknown:
        raise RegistryError(
            f"{folder} holds files that {MODEL_MANIFEST} does not list: {', '.join(unknown)}; "
            "remove them or train the model again"
        )
    for name, digest in manifest.files.items():
        if name not in present or sha256_of(folder / name) != digest:
            raise RegistryError(f"{folder / name} is missing or differs from its hash in {MODEL_MANIFEST}")
    return manifest


def is_model_folder(folder: Path) -> bool:
    """Return whether ``folder`` has a student's manifest; it may still be refused when read."""
    return (folder / MODEL_MANIFEST).is_file()


def _parse(path: Path) -> ModelManifest:
    try:
        return ModelManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RegistryError(
            f"{path} cannot be read ({error.strerror}); python -m distill train writes such a folder"
        ) from error
    except ValidationError as error:
        raise RegistryError(f"{path} is not a manifest of a student: {error}") from error


def _present(folder: Path) -> set[str]:
    """Paths of the files in the folder that are hashed, with forward slashes."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MODEL_MANIFEST and path.name not in TEXTS
    }


def _refuse_unsafe(folder: Path) -> None:
    if not folder.is_dir():
        raise RegistryError(f"{folder} is not a folder")
    try:
        refuse_pickles(folder)
    except EncoderError as error:
        raise RegistryError(str(error)) from error
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise RegistryError(f"{path} is a link; a model folder holds its own files")
        if path.name == "config.json" and '"auto_map"' in path.read_text(encoding="utf-8", errors="replace"):
            raise RegistryError(f"{path} asks to run code from the folder (auto_map); that is refused")
    if not any(folder.rglob("*.safetensors")):
        raise RegistryError(f"{folder} holds no *.safetensors weights")


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
