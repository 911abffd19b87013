"""Hashes of a snapshot's files: holes cost nothing and hide nothing, and old snapshots stay readable."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from indexing.errors import InputError, MismatchError
from indexing.snapshots.manifest import (
    MANIFEST,
    CollectionEntry,
    Manifest,
    check_hashes,
    hash_all,
    hash_blocks,
    hash_file,
    read_manifest,
    write_manifest,
)

BLOCK = 65_536
SEED = 20


def sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """A file of this size with bytes at these offsets and holes elsewhere."""
    with open(path, "wb") as stream:
        stream.truncate(size)
        for offset, piece in pieces.items():
            stream.seek(offset)
            stream.write(piece)
    return path


def test_a_hole_and_stored_zeros_have_one_hash(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    for number, size in enumerate([0, 1, BLOCK, BLOCK + 1, 40 * BLOCK, 40 * BLOCK + 7]):
        offsets = [draw.randrange(size) for _ in range(min(size, 4))]
        pieces = {offset: draw.randbytes(min(100, size - offset)) for offset in offsets}
        holed = sparse(tmp_path / f"holed{number}", size, pieces)
        full = tmp_path / f"full{number}"
        full.write_bytes(holed.read_bytes())
        assert hash_blocks(holed) == hash_blocks(full), (SEED, size)
        assert hash_blocks(full)[1] == hash_file(full)[1] == size


def test_every_change_of_the_bytes_changes_the_hash(tmp_path: Path) -> None:
    body = bytes(3 * BLOCK) + b"river" + bytes(2 * BLOCK)
    changed = [
        body,
        body + b"\0",  # longer by zeros alone, within a block and by a whole one
        body + bytes(BLOCK),
        body[:-1],
        body[BLOCK:],  # the same data one block earlier
        bytes(1) + body[:-1],
        body.replace(b"river", b"rivet"),
        b"\1" + body[1:],  # in what was a hole
        bytes(len(body)),
        b"",
        b"\0",
    ]
    seen = set()
    for number, one in enumerate(changed):
        path = tmp_path / str(number)
        path.write_bytes(one)
        seen.add(hash_blocks(path)[0])
    assert len(seen) == len(changed)


def test_holes_are_not_read(tmp_path: Path) -> None:
    """A terabyte of nothing would take minutes otherwise."""
    path = sparse(tmp_path / "huge", 10**12, {5 * 10**11: b"here"})
    if os.stat(path).st_blocks * 512 > 10**6:
        pytest.skip("this file system keeps no holes")
    assert hash_blocks(path)[1] == 10**12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "snapshot"
    made.mkdir()
    sparse(made / "page.dat", 20 * BLOCK, {3 * BLOCK + 5: b"payload"})
    (made / "note.txt").write_text("A note.")
    return made


def described(folder: Path, format: int) -> Manifest:
    entry = CollectionEntry("winnow", 1, {"default": 1}, [])
    return Manifest("2026-01-01", "embedded", 0, 1, [entry], hash_all(folder, format), format)


@pytest.mark.parametrize("format", [1, 2])
def test_both_formats_are_read_and_checked(folder: Path, tmp_path: Path, format: int) -> None:
    write_manifest(folder, described(folder, format))
    copy = shutil.copytree(folder, tmp_path / "copy")
    check_hashes(copy, read_manifest(copy))
    with open(copy / "page.dat", "r+b") as stream:
        stream.seek(11 * BLOCK)
        stream.write(b"\1")
    with pytest.raises(MismatchError, match=r"page\.dat has other bytes"):
        check_hashes(copy, read_manifest(copy))


def test_a_later_format_is_refused(folder: Path) -> None:
    write_manifest(folder, described(folder, 2))
    body = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**body, "format": 3}))
    with pytest.raises(InputError, match="another version"):
        read_manifest(folder)
