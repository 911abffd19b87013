"""Uploaded bytes on their way to disk: bounded, streamed, durable before the answer.

``HOME/uploads/.incoming-<id>/0000/report.pdf`` while it arrives, then one rename
to ``HOME/uploads/<id>/``.  Files and folders are synced to the disk before
that, so whoever gets a job id can be sure that its files survive a power cut.
Each file has a folder of its own: two files of one name stay two files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from uuid import uuid4

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.errors import StorageError, UploadError
from serving.schemas import NewDocument

logger = logging.getLogger(__name__)

_INCOMING = ".incoming-"
_ABANDONED_AFTER_S = 3600.0
_MAX_NAME_BYTES = 200
_MAX_FILES = 10_000
_RESERVED_METADATA = frozenset({"_id", "title", "text"})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a stored upload: where it lies below the home folder, and its own name."""

    path: str
    name: str


class UploadFolder:
    """One upload being written; synchronous, to be called in a thread."""

    def __init__(self, home: Path) -> None:
        self.id = uuid4().hex
        self._root = home / "uploads"
        self._incoming = self._root / f"{_INCOMING}{self.id}"
        self._names: list[str] = []
        self._file: BufferedWriter | None = None
        with _storage():
            self._incoming.mkdir(parents=True)

    def open(self, name: str) -> None:
        """Start the next file; a name is only ever a last path component."""
        if len(self._names) >= _MAX_FILES:
            raise UploadError(f"an upload holds at most {_MAX_FILES} files; send the rest separately")
        folder = self._incoming / f"{len(self._names):04d}"
        safe = safe_name(name)
        with _storage():
            folder.mkdir()
            self._file = (folder / safe).open("xb")
        self._names.append(safe)

    def write(self, data: bytes) -> None:
        """Add bytes to the open file."""
        if self._file is None:
            raise UploadError("bytes outside of a file")
        with _storage():
            self._file.write(data)

    def close_file(self) -> None:
        """End the open file and sync it, and the folder that names it."""
        if self._file is None:
            return
        with _storage():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_folder(self._incoming / f"{len(self._names) - 1:04d}")
        self._file = None

    def commit(self) -> list[StoredFile]:
        """Move the complete upload to its final place and return its files."""
        if not self._names:
            raise UploadError('no file in the upload; send a multipart form with one or more "files" parts')
        final = self._root / self.id
        with _storage():
            sync_folder(self._incoming)
            self._incoming.rename(final)
            sync_folder(self._root)
            sync_folder(self._root.parent)
        return [
            StoredFile(f"uploads/{self.id}/{number:04d}/{name}", name)
            for number, name in enumerate(self._names)
        ]

    def discard(self) -> None:
        """Remove what was written, committed or not; never raises."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for folder in (self._incoming, self._root / self.id):
            shutil.rmtree(folder, ignore_errors=True)


class MultipartSink:
    """A streaming multipart/form-data body into an upload folder; fields are ignored."""

    def __init__(self, folder: UploadFolder, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise UploadError("multipart/form-data without a boundary; let the HTTP client set Content-Type")
        self._folder = folder
        self._in_file = False
        self._complete = False
        self._field = b""
        self._value = b""
        self._disposition = ""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise UploadError(f"the multipart boundary is not usable: {error}") from error

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the body and write what belongs to a file."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise UploadError(f"the body is not valid multipart/form-data: {error}") from error

    def finish(self) -> None:
        """Check that the closing boundary came: a cut body must not pass for a whole one."""
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise UploadError(f"the multipart body ends too early: {error}") from error
        if not self._complete:
            raise UploadError("the multipart body ends without its closing boundary")

    def _on_part_begin(self) -> None:
        self._disposition = ""
        self._field = self._value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            # The parser's own decoding is Latin-1 on both ways, so this is lossless.
            self._disposition = self._value.decode("latin-1")
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        # An empty name is what a browser sends for a file input left empty.
        self._in_file = bool(name)
        if name:
            self._folder.open(_client_name(name))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._folder.write(data[start:end])

    def _on_part_end(self) -> None:
        if self._in_file:
            self._folder.close_file()
            self._in_file = False

    def _on_end(self) -> None:
        self._complete = True


def write_documents(folder: UploadFolder, documents: list[NewDocument]) -> None:
    """Write documents as one JSON-lines file in the layout that indexing reads.

    Raises:
        UploadError: two documents share an id, or metadata uses a reserved name.
    """
    seen: set[str] = set()
    folder.open("documents.jsonl")
    for document in documents:
        reserved = sorted(_RESERVED_METADATA & document.metadata.keys())
        if reserved:
            raise UploadError(
                f"metadata must not be named {', '.join(reserved)}: that is the document itself"
            )
        doc_id = document.doc_id or content_id(document.title, document.text)
        if doc_id in seen:
            raise UploadError(f"two documents of this request have the id {doc_id!r}")
        seen.add(doc_id)
        row = {"_id": doc_id, "title": document.title, "text": document.text, **document.metadata}
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except (UnicodeEncodeError, ValueError) as error:
            raise UploadError(f"document {doc_id!a} cannot be stored: {error}") from error
        folder.write(line)
    folder.close_file()


def content_id(title: str, text: str) -> str:
    """Return the id of a document that brings none: 32 hex digits of its content's SHA-256."""
    digest = hashlib.sha256(json.dumps([title, text]).encode("ascii"))
    return digest.hexdigest()[:32]


def safe_name(name: str) -> str:
    """Return a file name without folders or control characters, at most 200 bytes.

    The suffix is kept: it decides the reader.

    >>> safe_name("../../etc/passwd")
    'passwd'
    >>> safe_name("..")
    'file'
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    clean = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cs")).strip()
    if not clean.strip("."):
        return "file"
    if len(clean.encode()) <= _MAX_NAME_BYTES:
        return clean
    stem, dot, suffix = clean.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, dot, suffix = clean, "", ""
    room = _MAX_NAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix


def remove_abandoned(home: Path) -> int:
    """Remove uploads that never became complete; return how many.

    An hour of grace: another service on the same home may be writing one.
    """
    removed = 0
    for folder in (home / "uploads").glob(f"{_INCOMING}*"):
        try:
            abandoned = time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def sync_folder(folder: Path) -> None:
    """Make the names inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _client_name(raw: bytes) -> str:
    """Decode a form's file name: UTF-8, quotes and line breaks escaped as browsers do."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("latin-1")
    return name.replace("%22", '"').replace("%0D", "").replace("%0A", "")


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the upload could not be stored: {error.strerror or error}") from error
