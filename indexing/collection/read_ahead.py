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
from collections.abc import Iterable, Iterator
from pathlib import Path

from indexing.collection.generations import data_range

logger = logging.getLogger(__name__)

BUDGET = 2 * 2**30
"""Bytes that are read at most; a shard beyond it has its first parts read."""

# What a search reads, the most often read first. Sparse vectors are read as postings (vector_index);
# stored token vectors stay on the disk until asked for.
_PARTS = ("vector_index-", "vector_storage-dense", "payload_index", "payload_storage")
_QUANTIZED = "quantized.data"
_BLOCK = 2**20


def start_read_ahead(shard: Path) -> threading.Thread:
    """Read the shard's files in a thread that ends with the process."""
    thread = threading.Thread(target=_read, args=(shard,), name="read-ahead", daemon=True)
    thread.start()
    return thread


def read_ahead(shard: Path, budget: int = BUDGET) -> int:
    """Return how many bytes were read, holes not counted; files that are gone meanwhile are passed over."""
    return _read_files(_files(shard), budget)


def read_quantized(shard: Path, budget: int = BUDGET) -> int:
    """Read the quantized vectors, which the engine is about to copy into memory; returns how many bytes.

    It does so through a mapping that it reads page by page and then asks the
    system to forget: from a file that is not in the page cache that takes ten
    times as long (0.9 s for 100,000 sentences).
    """
    return _read_files((path for path in _found(shard) if path.name == _QUANTIZED), budget)


def _read_files(paths: Iterable[Path], budget: int) -> int:
    left = budget
    buffer = bytearray(_BLOCK)
    for path in paths:
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
    """What a search reads from its file, in the order of ``_PARTS``."""
    found = [path for path in _found(shard) if path.name != _QUANTIZED]
    for prefix in _PARTS:
        yield from (path for path in found if _part(path, shard).startswith(prefix))


def _found(shard: Path) -> list[Path]:
    """Every file of the segments; folders that go meanwhile are passed over."""
    return [Path(folder, name) for folder, _, names in os.walk(shard / "segments") for name in sorted(names)]


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
