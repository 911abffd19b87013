"""Who reads from a generation: a shared file lock, which the system takes from a dead process.

A generation is dropped under the exclusive lock, so never while a service or a
command line answers from it.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from indexing.catalog import Catalog
from indexing.catalog.generations import Pair

_POLL_S = 0.1


class Lease:
    """A lock on one generation, held until it is closed; a context manager."""

    def __init__(self, descriptor: int, number: int) -> None:
        self._descriptor = descriptor
        self.number = number

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)  # releases the lock
            self._descriptor = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reading(home: Path, catalog: Catalog) -> tuple[Pair, Lease]:
    """Return which generation is served, and the lease that keeps it from being dropped."""
    while True:
        pair = catalog.generations.pair()
        lease = _lock(home, pair.number, fcntl.LOCK_SH, None)
        # It may have been switched and dropped while this waited.
        if lease is not None and catalog.generations.pair().number == pair.number:
            return pair, lease
        if lease is not None:
            lease.close()


def alone(home: Path, number: int, *, timeout_s: float) -> Lease | None:
    """Return the exclusive lock of a generation; None when it is still read after ``timeout_s``."""
    return _lock(home, number, fcntl.LOCK_EX, timeout_s)


def _lock(home: Path, number: int, kind: int, timeout_s: float | None) -> Lease | None:
    folder = home / "generations"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | (0 if deadline is None else fcntl.LOCK_NB))
            return Lease(descriptor, number)
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_S)
