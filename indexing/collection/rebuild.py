"""Build a shard's HNSW graph in a child process, on a copy, and catch up.

``optimize()`` holds the GIL for its whole time (8 s at 20,000 points, minutes
at 100,000), so it runs in a process of its own at low priority while the shard
goes on answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from indexing.collection import wire
from indexing.collection.edge import Shard
from indexing.collection.generations import copy_tree
from indexing.collection.journal import Journal
from indexing.collection.launch import child_environment
from indexing.collection.operations import WRITES
from indexing.errors import CollectionError

logger = logging.getLogger(__name__)

_SLICE_S = 0.02
_OPEN_SLICES = 500


async def build_beside(home: Path, source: Path, target: Path, copied: Callable[[], None]) -> bool:
    """Copy ``source`` to ``target`` and optimize the copy; whether that changed anything.

    Writes to ``source`` must be held back until ``copied`` is called.

    Raises:
        CollectionError: the child process failed; its log says why.
    """
    started = time.monotonic()
    await asyncio.to_thread(copy_tree, source, target)
    logger.info("shard copied in %.3f s", time.monotonic() - started)
    copied()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "indexing.collection.builder",
        str(home),
        str(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        output, _ = await child.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        raise CollectionError(f"the graph builder ended with status {child.returncode}; see engine.log")
    return bool(json.loads(output)["changed"])


async def replay(journal: Journal, shard: Shard, writable: asyncio.Event) -> int:
    """Apply what was written since the copy; returns how many writes.

    Searches and further writes get their turn between slices of 20 ms.  Should
    the writers outrun the replay, they are held back after 500 slices.  When
    this returns the journal is empty, and stays so until the next ``await``.
    """
    applied = slices = 0
    while True:
        deadline = time.monotonic() + _SLICE_S
        while time.monotonic() < deadline:
            entry = journal.pop()
            if entry is None:
                return applied
            name, arguments = wire.unpack(entry)
            try:
                WRITES[name](shard, arguments)
            except CollectionError:
                # It failed on the old shard too, and its caller was told so.
                logger.warning("a failed %s failed again while catching up", name)
            applied += 1
        slices += 1
        if slices > _OPEN_SLICES:
            writable.clear()
        await asyncio.sleep(0)
