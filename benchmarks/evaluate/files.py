"""Lines, JSON rows and checksums of plain or gzipped files, with the place of what is wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from indexing.errors import InputError


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``("FILE, line N", line)`` for every line that is not blank.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield ``("FILE, line N", object)`` for every line.

    Raises:
        InputError: as :func:`text_lines`, or a line is not a JSON object.
    """
    for where, line in text_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object")
        yield where, row


def checksum(paths: Iterable[Path]) -> str:
    """First 16 hex digits of SHA-256 over the files' text, whether or not they are compressed."""
    digest = hashlib.sha256()
    for path in paths:
        for _, line in text_lines(path):
            digest.update(line.encode())
    return digest.hexdigest()[:16]


def folder_hash(folder: Path) -> str:
    """First 16 hex digits of SHA-256 over the names and contents of a model folder's files."""
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
