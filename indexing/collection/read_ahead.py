"""Read a shard's files when it is opened, so that its first searches do not wait for the disk.

The engine maps its files into memory, and a search touches a few hundred
pages all over them: vectors, graph, postings, payload.  One by one from the
disk that takes many times as long as the search; read from end to end
beforehand, a fraction of a second for 100,000 sentences.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from indexing.collection.generations import data_range

logger = logging.getLogger(__name__)

BUDGET = 2 * 2**30
"""Bytes that are read at most; a shard beyond it has its first parts read."""

# What a search reads, the most often read first. Sparse vectors are read as postings (vector_index);
# stored token vectors stay on the disk until asked for.
_PARTS = ("vector_index-", "vector_storage-dense", "payload_storage", "payload_index")
_BLOCK = 2**20


def start_read_ahead(shard: Path) -> threading.Thread:
    """Read the shard's files in a thread that ends with the process."""
    thread = threading.Thread(target=_read, args=(shard,), name="read-ahead", daemon=True)
    thread.start()
    return thread


def read_ahead(shard: Path, budget: int = BUDGET) -> int:
    """Return how many bytes were read, holes not counted; files that are gone meanwhile are passed over."""
    left = budget
    buffer = bytearray(_BLOCK)
    for path in _files(shard):
        try:
            left -= _read_file(path, buffer, left)
        except OSError as error:
            logger.debug("%s was not read ahead: %s", path, error)
        if left <= 0:
            break
    return budget - left


def _read(shard: Path) -> None:
    started = time.monotonic()
    size = read_ahead(shard)
    logger.info("%.0f MB read ahead in %.2f s", size / 2**20, time.monotonic() - started)


def _files(shard: Path) -> Iterator[Path]:
    """What a search reads, in the order of ``_PARTS``; folders that go meanwhile are passed over."""
    found = [Path(folder, name) for folder, _, names in os.walk(shard / "segments") for name in sorted(names)]
    for prefix in _PARTS:
        yield from (path for path in found if _part(path, shard).startswith(prefix))


def _part(path: Path, shard: Path) -> str:
    """Return the first name below the segment's folder, "" for what lies beside the segments."""
    _, *below = path.relative_to(shard / "segments").parts
    return below[0] if below else ""


def _read_file(path: Path, buffer: bytearray, most: int) -> int:
    """Read the file's data, no holes, into nowhere; the interpreter lock is free meanwhile."""
    done = position = 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        while position < size and done < most:
            position, end = data_range(descriptor, position, size)
            while position < end and done < most:
                count = os.preadv(descriptor, [memoryview(buffer)[: min(_BLOCK, end - position)]], position)
                if not count:
                    return done
                position += count
                done += count
    finally:
        os.close(descriptor)
    return done
