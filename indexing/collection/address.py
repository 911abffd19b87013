"""Who owns a collection folder, and where that process listens."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from indexing.collection.layout import Layout, replace_durably

_MAX_SOCKET_PATH = 100  # the system's limit is 108 bytes with the final zero


def try_lock(layout: Layout) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None when another has it."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def acquire(layout: Layout, wait_s: float) -> int | None:
    """Lock the folder for this process; None when a living engine has it.

    An engine that is just leaving holds the lock for a moment longer than it
    answers, so this waits while nobody answers.
    """
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = try_lock(layout)
        if descriptor is not None or answers(layout) or time.monotonic() >= deadline:
            return descriptor
        time.sleep(0.05)


def read_address(layout: Layout) -> str | None:
    """Where the engine says it listens; None when it says nothing."""
    try:
        return layout.address.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def answers(layout: Layout) -> bool:
    """Whether somebody accepts connections at the recorded address."""
    address = read_address(layout)
    if address is None:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


def listen(layout: Layout) -> tuple[socket.socket, Path]:
    """A listening socket in the folder, or at a short private path, recorded there."""
    path = layout.folder / "engine.sock"
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        path = Path(tempfile.mkdtemp(prefix="winnow-")) / "engine.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    listener.listen(128)
    replace_durably(layout.address, str(path) + "\n")
    return listener, path


def withdraw(layout: Layout, path: Path) -> None:
    """Take the address back, so that nobody knocks at a leaving engine's door."""
    layout.address.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if path.parent != layout.folder:
        shutil.rmtree(path.parent, ignore_errors=True)
