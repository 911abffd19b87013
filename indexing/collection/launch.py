"""Find the engine process of a collection, or start it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from indexing.collection.address import read_address
from indexing.collection.connection import Connection
from indexing.collection.layout import Layout
from indexing.errors import CollectionUnavailableError, DamagedShardError

_MAX_LOG_BYTES = 2**20
_POLL_S = 0.02
# How a process ends that maps a file cut short, or runs into one that makes no sense.
_CRASHES = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT)


async def connect(layout: Layout, *, idle_exit_s: float, optimize_after: int, timeout_s: float) -> Connection:
    """A connection to the one engine process of this folder, started when there is none.

    Raises:
        CollectionUnavailableError: it did not answer within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    child: subprocess.Popen[bytes] | None = None
    while True:
        connection = await _try_connect(layout)
        if connection is not None:
            return connection
        if child is not None and child.poll() in _CRASHES:
            raise DamagedShardError(
                f"the engine process crashed while it opened {layout.folder} (status {child.returncode}); "
                "run: python -m indexing repair"
            )
        if child is not None and child.poll() not in (None, 0, -signal.SIGKILL, -signal.SIGTERM):
            raise CollectionUnavailableError(
                f"the engine process did not start (status {child.returncode}); {_last_line(layout)}"
            )
        if child is None or child.poll() is not None:
            # Several processes may start one at once: the lock leaves one, the others exit.
            child = _spawn(layout, idle_exit_s, optimize_after)
        if time.monotonic() >= deadline:
            raise CollectionUnavailableError(
                f"no engine process answered for {layout.folder} within {timeout_s:g} s; {_last_line(layout)}"
            )
        await asyncio.sleep(_POLL_S)


async def _try_connect(layout: Layout) -> Connection | None:
    address = read_address(layout)
    if address is None:
        return None
    try:
        return await Connection.open(address)
    except OSError:
        return None


def _spawn(layout: Layout, idle_exit_s: float, optimize_after: int) -> subprocess.Popen[bytes]:
    """Start the engine detached: a Ctrl-C meant for its starter must not reach it."""
    mode = "wb" if layout.log.exists() and layout.log.stat().st_size > _MAX_LOG_BYTES else "ab"
    with open(layout.log, mode) as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "indexing.collection.engine",
                str(layout.folder),
                f"--idle-exit-s={idle_exit_s}",
                f"--optimize-after={optimize_after}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=child_environment(),
        )


def child_environment() -> dict[str, str]:
    """This process's environment, with this very package importable from any working directory."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return dict(os.environ, PYTHONPATH=root if not inherited else root + os.pathsep + inherited)


def _last_line(layout: Layout) -> str:
    """What the engine's log says last, for an error message."""
    try:
        lines = layout.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{layout.log} ends with: {lines[-1]}" if lines else f"see {layout.log}"
