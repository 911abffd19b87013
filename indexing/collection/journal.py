"""Writes remembered in order while a new shard is built beside the old one.

The old shard has acknowledged them already: the journal is only what the new
shard still lacks, so it needs to survive nothing.  It is kept in memory up to a
bound and goes on in a file past it.
"""

from __future__ import annotations

import struct
from collections import deque
from io import BufferedRandom
from pathlib import Path

_LENGTH = struct.Struct("<I")


class Journal:
    """A first-in first-out queue of byte strings, bounded in memory."""

    def __init__(self, spill: Path, memory_limit: int = 64 * 2**20) -> None:
        self._spill_path = spill
        self._limit = memory_limit
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._file: BufferedRandom | None = None
        self._read_at = 0
        self._write_at = 0

    def append(self, entry: bytes) -> None:
        # Once the file is in use everything goes there until it is drained: order matters.
        if self._file is None and self._memory_bytes + len(entry) <= self._limit:
            self._memory.append(entry)
            self._memory_bytes += len(entry)
            return
        if self._file is None:
            self._file = open(self._spill_path, "w+b")  # noqa: SIM115 - closed in close()
        self._file.seek(self._write_at)
        self._file.write(_LENGTH.pack(len(entry)) + entry)
        self._write_at = self._file.tell()

    def pop(self) -> bytes | None:
        """The oldest entry; None when nothing is left."""
        if self._memory:
            entry = self._memory.popleft()
            self._memory_bytes -= len(entry)
            return entry
        if self._file is None:
            return None
        self._file.seek(self._read_at)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        entry = self._file.read(length)
        self._read_at = self._file.tell()
        if self._read_at == self._write_at:
            self._drop_file()
        return entry

    def close(self) -> None:
        self._memory.clear()
        self._memory_bytes = 0
        self._drop_file()

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._spill_path.unlink(missing_ok=True)
        self._file = None
        self._read_at = self._write_at = 0
