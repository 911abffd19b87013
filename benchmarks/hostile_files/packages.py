"""Hostile Office files and EPUBs: what a zip and the XML in it can try."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial

from benchmarks.hostile_files import honest
from benchmarks.hostile_files.honest import members, pack
from benchmarks.hostile_files.record import (
    CANARIES,
    DAMAGED,
    ENCRYPTED,
    LIMIT,
    METADATA_URL,
    SECRET_URL,
    HostileFile,
)

_MB = 1 << 20
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 504
# The part that every reader of the format parses.
_MAIN = {
    "docx": "word/document.xml",
    "pptx": "ppt/presentation.xml",
    "xlsx": "xl/workbook.xml",
    "epub": "book.opf",
}
_BASE: dict[str, Callable[[], bytes]] = {
    "docx": honest.docx,
    "pptx": honest.pptx,
    "xlsx": honest.xlsx,
    "epub": honest.epub,
}
_LAUGHS = "".join(
    f'<!ENTITY l{n} "{"&l" + str(n - 1) + ";" if n else "ha"}{("&l" + str(n - 1) + ";") * 9 if n else ""}">'
    for n in range(12)
)


def _with(suffix: str, name: str, body: bytes) -> bytes:
    return pack({**members(_BASE[suffix]()), name: body})


def _doctype(suffix: str, declaration: str, encoding: str = "utf-8") -> bytes:
    """The main part behind a doctype, and its first text an entity."""
    main = members(_BASE[suffix]())[_MAIN[suffix]].decode()
    root = main[main.index("?>") + 2 :].lstrip() if main.startswith("<?xml") else main
    head = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{declaration}]>'
    return _with(suffix, _MAIN[suffix], (head + root).encode(encoding))


def _bomb(suffix: str, megabytes: int) -> bytes:
    return _with(suffix, "media/a.xml", b"<a/>" + b" " * (megabytes * _MB))


def _picture_bomb(suffix: str) -> bytes:
    return _with(suffix, "media/a.bin", b"\x00" * (30 * _MB))


def _many(suffix: str) -> bytes:
    extra: dict[str, str | bytes] = {f"media/{n}.bin": b"" for n in range(25_000)}
    return pack({**members(_BASE[suffix]()), **extra}, compression=zipfile.ZIP_STORED)


def _twice(suffix: str) -> bytes:
    """The main part twice: which one is read depends on who reads."""
    stream = io.BytesIO(_BASE[suffix]())
    with zipfile.ZipFile(stream, "a") as archive:
        body = archive.read(_MAIN[suffix])
        archive.fp.seek(archive.start_dir)  # type: ignore[union-attr]
        info = zipfile.ZipInfo(_MAIN[suffix])
        archive.NameToInfo.pop(_MAIN[suffix])
        archive.writestr(info, body)
    return stream.getvalue()


def _patched(suffix: str, change: Callable[[bytearray, int], None]) -> bytes:
    """The file with its first central directory entry changed in place."""
    data = bytearray(_BASE[suffix]())
    place = data.index(b"PK\x01\x02", data.rindex(b"PK\x01\x02") - len(data))
    change(data, data.index(b"PK\x01\x02") if place < 0 else place)
    return bytes(data)


def _put(data: bytearray, place: int, value: bytes) -> None:
    data[place : place + len(value)] = value


def _size_lie(data: bytearray, entry: int) -> None:
    _put(data, entry + 24, (4).to_bytes(4, "little"))


def _size_huge(data: bytearray, entry: int) -> None:
    _put(data, entry + 24, (0xFFFFFFFE).to_bytes(4, "little"))


def _crc(data: bytearray, entry: int) -> None:
    _put(data, entry + 16, b"\xde\xad\xbe\xef")


def _method(data: bytearray, entry: int) -> None:
    _put(data, entry + 10, (99).to_bytes(2, "little"))


def _sealed(data: bytearray, entry: int) -> None:
    data[entry + 8] |= 1


def _offset(data: bytearray, entry: int) -> None:
    _put(data, entry + 42, (0x7FFFFFF0).to_bytes(4, "little"))


def _deep(suffix: str) -> bytes:
    main = members(_BASE[suffix]())[_MAIN[suffix]]
    end = main.rindex(b"</")
    return _with(suffix, _MAIN[suffix], main[:end] + b"<a>" * 50_000 + b"</a>" * 50_000 + main[end:])


def _without(suffix: str) -> bytes:
    left = members(_BASE[suffix]())
    left.pop(_MAIN[suffix])
    return pack(left)


def _encrypted_package() -> bytes:
    return _OLE + "EncryptedPackage".encode("utf-16-le") + b"\x00" * 400


def _common(suffix: str) -> list[tuple[str, str, str, partial[bytes]]]:
    external = f'<!ENTITY e SYSTEM "{SECRET_URL}">'
    metadata = f'<!ENTITY e SYSTEM "{METADATA_URL}">'
    parameter = f'<!ENTITY % p SYSTEM "{SECRET_URL}"> %p;'
    return [
        ("bomb", "12 MB of blanks in 12 kB", LIMIT, partial(_bomb, suffix, 12)),
        ("bomb-media", "30 MB of zeros in a picture", LIMIT, partial(_picture_bomb, suffix)),
        ("members", "25,000 members", LIMIT, partial(_many, suffix)),
        (
            "slip",
            "a member named ../../../tmp/...",
            DAMAGED,
            partial(_with, suffix, "../../../../../.." + str(CANARIES[1]), b"x"),
        ),
        (
            "slip-root",
            "a member named /tmp/...",
            DAMAGED,
            partial(_with, suffix, str(CANARIES[1]), b"x"),
        ),
        ("slip-back", "a member named ..\\..\\x", DAMAGED, partial(_with, suffix, "a\\..\\..\\x", b"x")),
        ("twice", "two members with one name", DAMAGED, partial(_twice, suffix)),
        ("xxe", "an entity that is /etc/passwd", DAMAGED, partial(_doctype, suffix, external)),
        ("xxe-url", "an entity from a metadata service", DAMAGED, partial(_doctype, suffix, metadata)),
        ("xxe-parameter", "a parameter entity", DAMAGED, partial(_doctype, suffix, parameter)),
        ("xxe-utf16", "an entity in UTF-16", DAMAGED, partial(_doctype, suffix, external, "utf-16")),
        ("laughs", "entities of entities, 10^11 long", DAMAGED, partial(_doctype, suffix, _LAUGHS)),
        ("size-lie", "a member says it is 4 bytes", DAMAGED, partial(_patched, suffix, _size_lie)),
        ("size-huge", "a member says it is 4 GB", LIMIT, partial(_patched, suffix, _size_huge)),
        ("checksum", "a member with a wrong checksum", DAMAGED, partial(_patched, suffix, _crc)),
        ("method", "a compression nobody knows", DAMAGED, partial(_patched, suffix, _method)),
        ("offset", "a member beyond the end", DAMAGED, partial(_patched, suffix, _offset)),
        ("sealed", "a member with a password", ENCRYPTED, partial(_patched, suffix, _sealed)),
        ("deep", "elements nested 50,000 deep", DAMAGED, partial(_deep, suffix)),
        ("main-missing", "the main part is not there", DAMAGED, partial(_without, suffix)),
    ]


def common_files() -> list[HostileFile]:
    """The attacks that are the same for every zip format, made for each."""
    found = [
        HostileFile(f"{name}.{suffix}", attack, expect, make)
        for suffix in _BASE
        for name, attack, expect, make in _common(suffix)
    ]
    for suffix in ("docx", "pptx", "xlsx"):
        found.append(
            HostileFile(f"password.{suffix}", "encrypted by Office", ENCRYPTED, partial(_encrypted_package))
        )
        found.append(HostileFile(f"old.{suffix}", "the format of before 2007", DAMAGED, partial(bytes, _OLE)))
    return found
