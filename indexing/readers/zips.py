"""Zip containers (Office, EPUB), checked before any library opens them."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from indexing.errors import DamagedFileError, EncryptedFileError, ReadError, ReadLimitError
from indexing.readers.source import Source

# Deflate reaches 1,032; honest XML rarely passes 100.  Small members may.
_MAX_RATIO = 250
_RATIO_FREE_BYTES = 8 << 20
_MAX_MEMBERS = 20_000
_PROLOG_BYTES = 64 << 10

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_XML_SUFFIXES = (".xml", ".rels", ".vml", ".opf", ".ncx")
_ROOT = re.compile(rb"<[A-Za-z_]")
_COMMENT = re.compile(rb"(?s)<!--.*?-->")


@contextmanager
def open_zip(source: Source, *, doctype_allowed: bool = False) -> Iterator[zipfile.ZipFile]:
    """Yield the file as a zip whose members are bounded and declare no entities.

    The sizes in the directory can be trusted: ``zipfile`` never gives out more
    bytes of a member than its entry says.

    Args:
        source: the file.
        doctype_allowed: EPUB members may have a doctype (entities never);
            Office forbids one.

    Raises:
        EncryptedFileError: an encrypted Office file or zip member.
        DamagedFileError: not a zip, a member declares XML entities, or its
            name leads out of the file or is there twice.
        ReadLimitError: it would unpack to more than ``max_bytes``, or at a ratio
            that only a bomb has.
    """
    data = source.read()
    if data.startswith(_OLE):
        raise _ole_error(source, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(source, archive)
            _check_prologs(source, archive, doctype_allowed)
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedFileError(f"{source.name} is not a whole {source.suffix} file: {error}") from error


def _ole_error(source: Source, data: bytes) -> ReadError:
    """Encrypted Office files are OLE containers, and so are those from before 2007."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return EncryptedFileError(f"{source.name} is protected by a password; save it without one")
    return DamagedFileError(
        f"{source.name} is in the binary Office format of before 2007; save it as {source.suffix}"
    )


def _check_sizes(source: Source, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise ReadLimitError(f"{source.name} has {len(members)} members, more than {_MAX_MEMBERS}")
    total = sum(member.file_size for member in members)
    if total > source.max_bytes:
        raise ReadLimitError(
            f"{source.name} unpacks to {total / 1e6:.1f} MB, more than {source.max_bytes / 1e6:.1f} MB; "
            "raise indexing.max_file_mb (WINNOW_INDEXING__MAX_FILE_MB) to read it"
        )
    names: set[str] = set()
    for member in members:
        name = member.filename.replace("\\", "/")
        # Nothing is ever unpacked to the disk; no honest file needs such names either.
        if name.startswith("/") or ".." in name.split("/") or name in names:
            raise DamagedFileError(
                f"{source.name} is refused: {member.filename[:80]!r} leads out of it, or is in it twice"
            )
        names.add(name)
        if member.flag_bits & 0x1:
            raise EncryptedFileError(f"{source.name} is protected by a password ({member.filename!r})")
        if member.file_size > max(_RATIO_FREE_BYTES, _MAX_RATIO * member.compress_size):
            raise ReadLimitError(
                f"{source.name} is refused as a zip bomb: {member.filename!r} unpacks to "
                f"{member.file_size / max(1, member.compress_size):.0f} times its size"
            )


def _check_prologs(source: Source, archive: zipfile.ZipFile, doctype_allowed: bool) -> None:
    """Refuse entity declarations, and an Office part with a doctype at all."""
    for member in archive.infolist():
        if not member.filename.lower().endswith(_XML_SUFFIXES) or not member.file_size:
            continue
        with archive.open(member) as stream:
            head = stream.read(_PROLOG_BYTES).replace(b"\x00", b"")  # UTF-16 reads as ASCII so
        head = _COMMENT.sub(b"", head)
        root = _ROOT.search(head)
        prolog = head[: root.start()] if root else head
        declares = b"<!ENTITY" in prolog or (b"<!DOCTYPE" in prolog and not doctype_allowed)
        if declares or (root is None and member.file_size > _PROLOG_BYTES):
            raise DamagedFileError(
                f"{source.name} is refused: {member.filename!r} declares XML entities or a doctype"
            )
