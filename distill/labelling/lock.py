"""One labelling process per teacher and store: two would pay for the same pairs twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.errors import LabelStoreError


@contextmanager
def teacher_lock(store: Path, teacher: int, name: str) -> Iterator[None]:
    """Hold the lock of one teacher; the system takes it from a process that dies.

    One file serves all teachers, a byte each, so several of them can label
    into one store at the same time.

    Raises:
        LabelStoreError: another process is labelling with this teacher.
    """
    descriptor = os.open(f"{store}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, teacher)
        except OSError as error:
            raise LabelStoreError(
                f"another process is labelling with {name} into {store}; wait for it to end"
            ) from error
        yield
    finally:
        os.close(descriptor)
