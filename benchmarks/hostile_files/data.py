"""Hostile data: JSON, JSON lines, CSV, mail, and what is packed with gzip."""

from __future__ import annotations

import gzip
import struct

from benchmarks.hostile_files.bombs import gzip_bomb
from benchmarks.hostile_files.honest import MULTIPART, TEXT, eml
from benchmarks.hostile_files.record import (
    CLEAN,
    DAMAGED,
    EMPTY,
    ENCRYPTED,
    LIMIT,
    SECRET_URL,
    HostileFile,
    fixed,
    repeated,
)

_RECORD = b'{"_id": "a", "text": "The Danube rises."}\n'


def _key_paths() -> bytes:
    """Values at the end of a path of 200 long keys: each line says the whole path again."""
    key = "river" * 100
    opening = "".join(f'{{"{key}{n}":' for n in range(200))
    return (opening + "[" + ",".join("[1]" for _ in range(3000)) + "]" + "}" * 200).encode()


def _json() -> list[HostileFile]:
    return [
        HostileFile(
            "deep.json",
            "arrays nested a million deep",
            DAMAGED,
            repeated(b"", b"[", 1_000_000, b"]" * 1_000_000),
        ),
        HostileFile(
            "deep-objects.json",
            "objects nested 300,000 deep",
            DAMAGED,
            repeated(b"", b'{"a":', 300_000, b"1" + b"}" * 300_000),
        ),
        HostileFile(
            "digits.json", "a number of a million digits", DAMAGED, repeated(b'{"a": ', b"9", 1_000_000, b"}")
        ),
        HostileFile(
            "numbers.json",
            "NaN, Infinity and 1e999",
            CLEAN,
            fixed('{"a": NaN, "b": -Infinity, "c": 1e999, "d": "' + TEXT.strip() + '"}'),
        ),
        HostileFile("keys.json", "200 long keys before each of 3,000 values", LIMIT, _key_paths),
        HostileFile(
            "keys-twice.json",
            "one key, 200,000 times",
            CLEAN,
            repeated(b"{", b'"a": 1, ', 200_000, b'"a": "last"}'),
        ),
        HostileFile(
            "surrogates.json",
            "half characters as escapes",
            CLEAN,
            fixed('[{"text": "a \\ud800 b \\udfff \\u0000 river."}]'),
        ),
        HostileFile(
            "records-mixed.json", "an id that is a list", DAMAGED, fixed('[{"_id": [1], "text": "river"}]')
        ),
        HostileFile("comma.json", "a comma too many", DAMAGED, fixed('[{"text": "river"},]')),
        HostileFile("two.json", "two values", DAMAGED, fixed('{"a": 1}{"b": 2}')),
        HostileFile("mark32.json", "in UTF-32", CLEAN, fixed('[{"text": "The Danube."}]'.encode("utf-32"))),
        HostileFile(
            "proto.json",
            "keys that are code elsewhere",
            CLEAN,
            fixed('{"__proto__": {"admin": true}, "$ref": "' + SECRET_URL + '", "a": "river"}'),
        ),
    ]


def _json_lines() -> list[HostileFile]:
    return [
        HostileFile(
            "deep.jsonl",
            "a line nested 100,000 deep",
            DAMAGED,
            repeated(_RECORD + b'{"text": ', b"[", 100_000, b"\n"),
        ),
        HostileFile("list.jsonl", "a line that is a list", DAMAGED, fixed(_RECORD + b"[1, 2]\n")),
        HostileFile(
            "no-text.jsonl", "a line without text", DAMAGED, fixed(_RECORD + b'{"_id": "b", "text": null}\n')
        ),
        HostileFile(
            "bytes.jsonl", "a line that is no UTF-8", DAMAGED, fixed(_RECORD + b'{"text": "\xff\xfe"}\n')
        ),
        HostileFile("cut.jsonl", "a line that is cut", DAMAGED, fixed(_RECORD + b'{"_id": "b", "te')),
        HostileFile(
            "id-long.jsonl",
            "an id of 10,000 characters",
            "read",
            fixed(b'{"_id": "%s", "text": "river"}\n' % (b"a" * 10_000)),
        ),
        HostileFile(
            "id-path.jsonl",
            "an id that is a path",
            CLEAN,
            fixed(b'{"_id": "../../etc/passwd", "text": "river"}\n'),
        ),
        HostileFile(
            "metadata.jsonl",
            "a record with 50,000 fields",
            CLEAN,
            lambda: ("{" + ",".join(f'"f{n}": {n}' for n in range(50_000)) + ', "text": "river"}\n').encode(),
        ),
        HostileFile("blank.jsonl", "a million empty lines", EMPTY, repeated(b"", b"\n", 1_000_000)),
    ]


def _tables() -> list[HostileFile]:
    header = ",".join("river" * 20 + str(n) for n in range(500))
    return [
        HostileFile(
            "quote.csv", "a quote that never closes", DAMAGED, repeated(b'a,b\n1,"', b"x\n", 100_000)
        ),
        HostileFile("field.csv", "a field of 7 MB", CLEAN, repeated(b"a,b\n1,", b"x", 7_000_000)),
        HostileFile("columns.csv", "100,000 columns", CLEAN, repeated(b"a", b",b", 100_000)),
        HostileFile(
            "headers.csv",
            "500 long headers before each of 3,000 rows",
            LIMIT,
            repeated(header.encode() + b"\n", b"1," * 499 + b"1\n", 3000),
        ),
        HostileFile("nul.csv", "NULs in the cells", DAMAGED, fixed("a,b\n1,\x002\n")),
        HostileFile(
            "formula.csv",
            "a formula that starts a program",
            CLEAN,
            fixed("name,value\nriver,=cmd|' /C calc'!A0\n"),
        ),
        HostileFile("quotes.csv", "quotes in the middle of cells", DAMAGED, fixed('a,b\n"x"y,"z\n')),
        HostileFile("returns.csv", "a million carriage returns", EMPTY, repeated(b"", b"\r", 1_000_000)),
        HostileFile("tabs.tsv", "a million empty cells", EMPTY, repeated(b"", b"\t", 1_000_000)),
    ]


def _nested_mail(levels: int) -> bytes:
    head = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(levels)
    )
    return b"From: a@example.org\nSubject: x\n" + head + b"\n" + TEXT.encode()


def _wrapped_mail(levels: int) -> bytes:
    return b"From: a@example.org\nContent-Type: message/rfc822\n\n" * levels + b"\n" + TEXT.encode()


def _mails() -> list[HostileFile]:
    parts = b"--b\n\nx\n" * 5_000
    long_header = "To: " + ", ".join(f"a{n}@example.org" for n in range(100_000)) + "\n"
    words = "X-A: " + "=?utf-8?B?w6k=?= " * 50_000 + "\n"
    return [
        HostileFile("nested.eml", "parts in parts, 5,000 deep", DAMAGED, lambda: _nested_mail(5000)),
        HostileFile("wrapped.eml", "mails in mails, 3,000 deep", DAMAGED, lambda: _wrapped_mail(3000)),
        HostileFile(
            "parts.eml", "5,000 parts", CLEAN, fixed(MULTIPART.replace(b"--b\n", parts + b"--b\n", 1))
        ),
        HostileFile(
            "boundary-none.eml",
            "parts without a boundary",
            DAMAGED,
            fixed(MULTIPART.replace(b'; boundary="b"', b"")),
        ),
        HostileFile(
            "boundary-open.eml", "parts that never close", DAMAGED, fixed(MULTIPART.replace(b"--b--\n", b""))
        ),
        HostileFile(
            "boundary-long.eml",
            "a boundary of 100,000 characters",
            DAMAGED,
            fixed(MULTIPART.replace(b'"b"', b'"' + b"b" * 100_000 + b'"')),
        ),
        HostileFile("header-long.eml", "100,000 recipients", CLEAN, lambda: eml(head=long_header)),
        HostileFile("header-words.eml", "50,000 encoded words", CLEAN, lambda: eml(head=words)),
        HostileFile(
            "header-fold.eml",
            "a header folded 300,000 times",
            CLEAN,
            lambda: eml(head="X-A: a\n" + " a\n" * 300_000),
        ),
        HostileFile(
            "continued.eml",
            "a name in 10^9 pieces",
            CLEAN,
            fixed(eml(head='Content-Type: text/plain; name*0="a"; name*999999999="b"\n')),
        ),
    ]


def _mail_bodies() -> list[HostileFile]:
    return [
        HostileFile(
            "charset-zlib.eml",
            "says it is in zlib",
            CLEAN,
            fixed(eml(head="Content-Type: text/plain; charset=zlib_codec\n")),
        ),
        HostileFile(
            "charset-none.eml",
            "says it is in no known encoding",
            CLEAN,
            fixed(eml(head="Content-Type: text/plain; charset=x-nothing\n")),
        ),
        HostileFile(
            "base64.eml",
            "base64 that is none",
            DAMAGED,
            fixed(eml("a" * 101, "Content-Transfer-Encoding: base64\n")),
        ),
        HostileFile(
            "base64-binary.eml",
            "base64 of binary",
            DAMAGED,
            fixed(eml("AAEC" * 99, "Content-Transfer-Encoding: base64\n")),
        ),
        HostileFile(
            "html-file.eml",
            "HTML that includes /etc/passwd",
            CLEAN,
            fixed(eml(f'<p>River</p><object data="{SECRET_URL}">', "Content-Type: text/html\n")),
        ),
        HostileFile(
            "sealed.eml", "S/MIME", ENCRYPTED, fixed(eml("AAAA", "Content-Type: application/pkcs7-mime\n"))
        ),
        HostileFile(
            "attachment-slip.eml",
            "an attachment named ../../x",
            CLEAN,
            fixed(
                MULTIPART.replace(
                    b"--b--", b'--b\nContent-Disposition: attachment; filename="../../x"\n\nx\n--b--'
                )
            ),
        ),
        HostileFile("headless.eml", "no header at all", DAMAGED, fixed("\n\n" + TEXT)),
    ]


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _packed() -> list[HostileFile]:
    honest = _gzipped(TEXT.encode() * 99)
    return [
        HostileFile("bomb.txt.gz", "1 GB of zeros in 1 MB", LIMIT, lambda: gzip_bomb(1000)),
        HostileFile(
            "bomb.jsonl.gz",
            "20 MB of records in 100 kB",
            LIMIT,
            lambda: gzip_bomb(20, _RECORD.replace(b"rises.", b"rises. " * 500)),
        ),
        HostileFile("bomb.csv.gz", "200 MB of rows", LIMIT, lambda: gzip_bomb(200, b"a,b\n")),
        HostileFile("bomb.html.gz", "200 MB of elements", LIMIT, lambda: gzip_bomb(200, b"<b>x")),
        HostileFile("bomb.json.gz", "200 MB of brackets", LIMIT, lambda: gzip_bomb(200, b"[")),
        HostileFile("nested.txt.gz", "gzip in gzip", DAMAGED, lambda: _gzipped(gzip_bomb(100))),
        HostileFile("cut.txt.gz", "the end is cut off", DAMAGED, fixed(honest[:-20])),
        HostileFile(
            "checksum.txt.gz",
            "a wrong checksum",
            DAMAGED,
            fixed(honest[:-8] + b"\xde\xad\xbe\xef" + honest[-4:]),
        ),
        HostileFile(
            "length.txt.gz", "says it holds 4 GB", DAMAGED, fixed(honest[:-4] + struct.pack("<I", 0xFFFFFFFF))
        ),
        HostileFile(
            "header.txt.gz",
            "a name that never ends",
            DAMAGED,
            fixed(honest[:3] + b"\x08" + honest[4:10] + b"a" * 100_000),
        ),
        HostileFile("trailing.txt.gz", "junk behind the end", DAMAGED, fixed(honest + b"junk")),
        HostileFile(
            "members.txt.gz", "20,000 gzip files in one", CLEAN, repeated(honest, _gzipped(b"a "), 20_000)
        ),
        HostileFile("empty.md.gz", "nothing, packed", EMPTY, fixed(_gzipped(b""))),
        HostileFile("binary.py.gz", "binary, packed", DAMAGED, fixed(_gzipped(bytes(range(256)) * 9))),
    ]


def files() -> list[HostileFile]:
    """The hostile data files."""
    return [*_json(), *_json_lines(), *_tables(), *_mails(), *_mail_bodies(), *_packed()]
