"""Shard folders on disk: which one counts, and how the next one takes its place.

``CURRENT`` names the folder that counts.  It is replaced atomically, so after
a crash at any moment the old folder or the new one counts, each of them whole;
whatever else lies in ``shards/`` is a leftover and is removed at the next start.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from indexing.collection.layout import Layout, replace_durably, sync_folder
from indexing.collection.shard_state import state_path
from indexing.errors import DamagedShardError

_BLOCK = 1 << 20


class Generations:
    """The numbered shard folders of one collection."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def current(self) -> Path | None:
        """The folder that counts; None when no shard was ever created.

        Raises:
            DamagedShardError: ``CURRENT`` names a folder that is not there.
        """
        try:
            name = self._layout.pointer.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            # The pointer is written after the first shard is complete.  When it is
            # missing, the lowest number is the oldest: the one that was the authority.
            complete = sorted(path for path in self._folders() if path.name.isdigit())
            return complete[0] if complete else None
        except UnicodeDecodeError:
            name = "?"
        path = self._layout.shards / name
        if not name.isdigit() or not path.is_dir():
            raise DamagedShardError(
                f"{self._layout.pointer} names {name!r}, which is no shard folder; "
                "run: python -m indexing repair"
            )
        return path

    def next(self) -> Path:
        """A folder path that is not in use; not created."""
        numbers = [int(path.name) for path in self._folders() if path.name.isdigit()]
        return self._layout.shards / f"{max(numbers, default=0) + 1:06d}"

    def draft(self) -> Path:
        """Where a first shard is created before it gets its number."""
        return self._layout.shards / "draft"

    def point_to(self, path: Path) -> None:
        """Make ``path`` the folder that counts, atomically and durably."""
        sync_folder(self._layout.shards)
        replace_durably(self._layout.pointer, path.name + "\n")

    def remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        state_path(path).unlink(missing_ok=True)

    def clean(self, keep: Path | None) -> list[str]:
        """Remove what crashes left behind; the names removed."""
        removed: list[str] = []
        kept = set() if keep is None else {keep.name, state_path(keep).name}
        for path in self._folders():
            if path.name in kept:
                continue
            removed.append(path.name)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self._layout.spill.unlink(missing_ok=True)
        return removed

    def _folders(self) -> list[Path]:
        try:
            return list(self._layout.shards.iterdir())
        except FileNotFoundError:
            return []


def copy_tree(source: Path, target: Path) -> None:
    """Copy a shard folder; holes stay holes (a log of 32 MB is mostly hole).

    The caller has flushed the shard and holds writes back until this returns.
    """
    target.mkdir(parents=True)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name)
        else:
            copy_file(Path(entry.path), target / entry.name)


def copy_shard(source: Path, target: Path) -> None:
    """Copy a shard folder and the small file beside it."""
    copy_tree(source, target)
    if state_path(source).exists():
        copy_file(state_path(source), state_path(target))


def copy_file(source: Path, target: Path) -> None:
    """Copy one file's data ranges and give the copy the same length."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        position = 0
        while position < size:
            start, end = data_range(reader.fileno(), position, size)
            if start >= size:
                break
            reader.seek(start)
            writer.seek(start)
            while start < end:
                block = reader.read(min(_BLOCK, end - start))
                if not block:
                    break
                writer.write(block)
                start += len(block)
            position = end
        writer.truncate(size)


def data_range(descriptor: int, position: int, size: int) -> tuple[int, int]:
    """The next stretch that is not a hole; the whole rest where holes are not told."""
    try:
        start = os.lseek(descriptor, position, os.SEEK_DATA)
        return start, os.lseek(descriptor, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but hole from here on
            return size, size
        return position, size
