"""Create, stop and delete an embedded collection as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator

from indexing.collection.address import read_address, try_lock
from indexing.collection.connection import Connection
from indexing.collection.layout import Layout
from indexing.errors import CollectionUnavailableError, WinnowError


async def stop_engine(layout: Layout) -> None:
    """Ask a running engine process to flush and leave; a no-op when none runs."""
    address = read_address(layout)
    if address is None:
        return
    with contextlib.suppress(OSError, WinnowError):
        connection = await Connection.open(address)
        try:
            await connection.request("stop", [])
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def exclusive(layout: Layout, timeout_s: float = 30.0) -> AsyncIterator[None]:
    """Hold the engine's lock with no engine running.

    Raises:
        CollectionUnavailableError: the engine did not leave in time.
    """
    layout.folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    while True:
        await stop_engine(layout)
        descriptor = try_lock(layout)
        if descriptor is not None:
            break
        if time.monotonic() >= deadline:
            raise CollectionUnavailableError(f"the engine process of {layout.folder} does not leave")
        await asyncio.sleep(0.05)
    try:
        yield
    finally:
        os.close(descriptor)


async def drop(layout: Layout) -> None:
    """Delete the folder; whoever opens the collection later finds none."""
    if not layout.folder.exists():
        return
    async with exclusive(layout):
        # Without its description the folder is no collection any more, however far this gets.
        layout.description.unlink(missing_ok=True)
        layout.pointer.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, layout.folder, True)
