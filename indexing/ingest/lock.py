"""One writer at a time: an advisory lock that the system takes from a dead process."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexing.errors import IngestBusyError

logger = logging.getLogger(__name__)

_POLL_S = 0.1


@contextmanager
def writer_lock(
    home: Path, *, timeout_s: float, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold ``home/ingest.lock``; call ``waiting`` with a message before a wait.

    Raises:
        IngestBusyError: another process still holds it after ``timeout_s``.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "ingest.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, home, timeout_s, waiting)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _acquire(descriptor: int, home: Path, timeout_s: float, waiting: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            message = f"process {holder} is writing the index at {home}"
            if time.monotonic() >= deadline:
                raise IngestBusyError(f"{message}; try again when it has ended", 5.0) from None
            if not told:
                logger.info("ingest_wait holder=%s", holder)
                if waiting is not None:
                    waiting(f"{message}; waiting up to {timeout_s:.0f} s")
                told = True
            time.sleep(_POLL_S)
