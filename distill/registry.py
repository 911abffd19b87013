"""The registry of models in a home folder: the writing side (``retrieval.registry`` reads).

Every step survives a kill.  A model is copied beside its place, synced, and
renamed into it, so a folder under its name is complete; the pointer is
written beside the old one, synced, and renamed over it.  What a killed run
left behind is swept by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from distill.errors import RegistryError
from distill.model_folder import is_model_folder, read_model_folder
from indexing.errors import EncoderError
from retrieval.exported_manifest import read_reranker_manifest
from retrieval.registry import MODEL_ID, MODELS, POINTER, Change, Pointer, read_pointer
from retrieval.rerank import MANIFEST

_INCOMING = ".incoming-"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One model in the registry; ``id`` is what promote takes."""

    id: str
    folder: Path
    kind: str
    runs: str  # "exported": without torch; "student": with it
    scripts: tuple[str, ...] | None
    megabytes: float
    promoted: bool
    trouble: str = ""


class ModelRegistry:
    """The models of one home folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / MODELS
        self.home = home

    def pointer(self) -> Pointer:
        """Return the pointer; an empty one where nothing was ever promoted.

        Raises:
            RegistryError: it is damaged.
        """
        try:
            return read_pointer(self.home)
        except EncoderError as error:
            raise RegistryError(str(error)) from error

    def models(self) -> list[RegisteredModel]:
        """Return the models by id; a damaged one says in ``trouble`` what is wrong with it."""
        current = self.pointer().model
        found = []
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith("."):
                found.append(_looked_at(folder, promoted=folder.name == current))
        return found

    def folder_of(self, model_id: str) -> Path:
        """Return the folder of a model.

        Raises:
            RegistryError: there is none of that id; the message lists those there are.
        """
        if re.fullmatch(MODEL_ID, model_id) is None or not (self.folder / model_id).is_dir():
            known = ", ".join(sorted(one.name for one in self.folder.glob("[!.]*/"))) or "none"
            raise RegistryError(f"no model {model_id!r} in {self.folder}; there are: {known}")
        return self.folder / model_id

    def add(self, source: Path) -> str:
        """Copy a model folder into the registry; return its id, the same for the same content.

        Accepted are exported rerankers and cross-encoder students.

        Raises:
            RegistryError: the folder is damaged, or nothing the service runs.
        """
        described = _describe(source, promoted=False)
        with self._locked():
            target = self.folder / described.id
            if not target.is_dir():
                scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=_INCOMING))
                scratch.chmod(0o755)  # the service may run as another user
                _copy(source, scratch)
                # What was copied is what was checked: the id is made of the hashes.
                if _describe(scratch, promoted=False).id != described.id:
                    raise RegistryError(f"{source} changed while it was copied; add it again")
                scratch.rename(target)
                _sync_folder(self.folder)
        return described.id

    def promote(
        self, model_id: str, *, gate: Mapping[str, JsonValue] | None = None, forced: bool = False
    ) -> Change:
        """Make a model the one in service; ``gate`` and ``forced`` are kept in the history.

        Raises:
            RegistryError: there is no such model, or it is promoted already.
        """
        folder = self.folder_of(model_id)
        _describe(folder, promoted=False)  # its hashes once more, before it goes into service
        with self._locked():
            before = self.pointer()
            if before.model == model_id:
                raise RegistryError(f"{model_id} is the promoted model already")
            change = Change(
                action="promote", model=model_id, previous=before.model, at=_now(), forced=forced, gate=gate
            )
            self._point(before, change)
        return change

    def rollback(self) -> Change:
        """Go back to the model before the promoted one; before the first there is the shipped one.

        Raises:
            RegistryError: nothing is promoted.
        """
        with self._locked():
            before = self.pointer()
            standing = _standing(before)
            if not standing:
                raise RegistryError("nothing is promoted, so there is nothing to roll back")
            target = standing[-2] if len(standing) > 1 else None
            if target is not None:
                self.folder_of(target)
            change = Change(action="rollback", model=target, previous=before.model, at=_now())
            self._point(before, change)
        return change

    def _point(self, before: Pointer, change: Change) -> None:
        after = Pointer(model=change.model, history=(*before.history, change))
        descriptor, scratch = tempfile.mkstemp(dir=self.folder, prefix=_INCOMING)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(after.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(self.folder / POINTER)
        _sync_folder(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the registry; the system takes the lock from a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in self.folder.glob(f"{_INCOMING}*"):
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()
            yield
        finally:
            os.close(descriptor)


def _standing(pointer: Pointer) -> list[str]:
    """The promoted models that were not rolled back, the present one last."""
    stack: list[str] = []
    for change in pointer.history:
        if change.action == "promote" and change.model is not None:
            stack.append(change.model)
        elif stack:
            stack.pop()
    return stack


def _looked_at(folder: Path, *, promoted: bool) -> RegisteredModel:
    try:
        return replace(_describe(folder, promoted=promoted), id=folder.name)
    except RegistryError as error:
        return RegisteredModel(folder.name, folder, "", "", None, 0.0, promoted, str(error))


def _describe(folder: Path, *, promoted: bool) -> RegisteredModel:
    """Return what a model folder is, after checking its hashes."""
    if (folder / MANIFEST).is_file():
        try:
            exported = read_reranker_manifest(folder)
        except EncoderError as error:
            raise RegistryError(str(error)) from error
        kind, runs, label = exported.kind, "exported", exported.name
        scripts, files = exported.scripts, dict(exported.files)
    elif is_model_folder(folder):
        student = read_model_folder(folder)
        if student.kind != "cross-encoder":
            raise RegistryError(
                f"{folder} is a {student.kind} student, which the service runs in its exported form: "
                f"python -m distill export {folder} OUT"
            )
        kind, runs, label = student.kind, "student", student.name
        scripts, files = student.scripts, dict(student.files)
    else:
        raise RegistryError(
            f"{folder} is no model folder: it has neither {MANIFEST} (python -m distill export writes it) "
            "nor model.json (python -m distill train writes it)"
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    model_id = _id(label, (folder / MANIFEST if runs == "exported" else None), files)
    return RegisteredModel(model_id, folder, kind, runs, scripts, round(size, 1), promoted)


def _id(name: str, manifest: Path | None, files: Mapping[str, str]) -> str:
    """``<name>-<hash>``; an exported manifest holds the score's formula, so it counts as content."""
    digest = hashlib.sha256(manifest.read_bytes() if manifest is not None else b"")
    for file, hashed in sorted(files.items()):
        digest.update(f"{hashed}  {file}\n".encode())
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return f"{plain[:64]}-{digest.hexdigest()[:12]}"


def _copy(source: Path, target: Path) -> None:
    """Copy the folder's files, each synced to the disk; names that begin with a dot stay behind."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if any(part.startswith(".") for part in relative.parts):
            continue
        copy = target / relative
        if path.is_dir():
            copy.mkdir()
        elif path.is_file():
            shutil.copyfile(path, copy)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
