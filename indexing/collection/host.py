"""The shard's owner inside the engine process: reads, writes, flushes, rebuilds.

Everything runs on one event loop thread; a shard call is synchronous, so a
stretch of code without ``await`` is atomic and needs no lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexing.collection import wire
from indexing.collection.edge import EnginePanicError, Shard
from indexing.collection.generations import Generations, copy_shard
from indexing.collection.journal import Journal
from indexing.collection.layout import Layout, read_description
from indexing.collection.operations import READS, WRITES, Arguments, check_write, steps
from indexing.collection.protocol import POOLED, TOKENS
from indexing.collection.read_ahead import start_read_ahead
from indexing.collection.rebuild import build_beside, replay
from indexing.errors import CollectionError, DamagedShardError, InputError, WinnowError

logger = logging.getLogger(__name__)

Checkpoint = Callable[[str], None]

FLUSH_EVERY_S = 5.0
QUIET_BEFORE_BUILD_S = 3.0
_GROWTH = 10  # build again after a tenth more points, or optimize_after if that is more


def no_checkpoint(_: str) -> None:
    """Called at named moments of a rebuild; crash tests put a kill here."""


class EngineHost:
    """Owns the current shard of one collection folder."""

    def __init__(self, layout: Layout, optimize_after: int, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._layout = layout
        self._optimize_after = optimize_after
        self._checkpoint = checkpoint
        self._generations = Generations(layout)
        self._shard: Shard | None = None
        self._damage: WinnowError | None = None
        self._journal: Journal | None = None
        self._build: asyncio.Task[bool] | None = None
        self._whole = asyncio.Lock()  # a rebuild or a copy, one at a time
        self._writable = asyncio.Event()
        self._writable.set()
        self._dirty = False
        self._last_write = self._last_flush = self._last_read = time.monotonic()

    # ── opening and closing ───────────────────────────────────────────────

    def open(self) -> None:
        """Load or create the shard; a damaged one is remembered, not raised."""
        try:
            self.spec, self.parameters = read_description(self._layout)
            current = self._generations.current()
            removed = self._generations.clean(current)
            if removed:
                logger.info("leftovers removed: %s", ", ".join(sorted(removed)))
            if current is None:
                current = self._create()
            self._shard = Shard.load(current, self.spec, self.parameters)
        except DamagedShardError as error:
            logger.error("%s", error)
            self._damage = error
            return
        logger.info("shard %s open: %d points", current.name, self._shard.points)
        start_read_ahead(current)

    def _create(self) -> Path:
        """Create the first shard under a draft name, so that a numbered folder is always whole."""
        draft = self._generations.draft()
        Shard.create(draft, self.spec, self.parameters).abandon()
        path = self._generations.next()
        os.rename(draft, path)
        self._generations.point_to(path)
        return path

    async def close(self) -> None:
        """Stop a running build, flush, close."""
        if self._build is not None:
            self._build.cancel()
            await asyncio.gather(self._build, return_exceptions=True)
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    @property
    def shard(self) -> Shard:
        if self._shard is None:
            raise self._damage or CollectionError("the collection is closed")
        return self._shard

    @property
    def building(self) -> bool:
        return self._build is not None and not self._build.done()

    # ── requests ──────────────────────────────────────────────────────────

    def read(self, name: str, arguments: Arguments) -> Any:
        shard = self.shard
        try:
            if name == "info":
                return self._info(shard)
            self._last_read = time.monotonic()
            return READS[name](shard, arguments)
        except EnginePanicError:
            self._reload()
            raise
        except (ValueError, TypeError) as error:
            raise InputError(f"malformed arguments of {name!r}: {error}") from error

    async def write(self, name: str, arguments: Arguments) -> None:
        """Apply a write; when this returns it survives SIGKILL."""
        try:
            check_write(name, arguments, self.shard.spec)
        except (ValueError, TypeError) as error:
            raise InputError(f"malformed arguments of {name!r}: {error}") from error
        for step in steps(name, arguments):
            while not self._writable.is_set():
                await self._writable.wait()
            self._apply(name, step)
            await asyncio.sleep(0)

    def _apply(self, name: str, step: Arguments) -> None:
        self._dirty = True
        self._last_write = time.monotonic()
        try:
            WRITES[name](self.shard, step)
        except EnginePanicError:
            self._reload()
            raise
        finally:
            # A failed batch may be applied in part, so it is remembered as well.
            if self._journal is not None:
                self._journal.append(wire.pack([name, step]))

    def _reload(self) -> None:
        """After a panic: open the shard again from its files, or remember that it is damaged."""
        shard = self._shard
        if shard is None:
            return
        self._shard = None
        try:
            shard.abandon()
        except CollectionError:
            logger.exception("the shard did not close after a panic")
        try:
            self._shard = Shard.load(shard.path, self.spec, self.parameters)
        except DamagedShardError as error:
            logger.error("%s", error)
            self._damage = error

    def _info(self, shard: Shard) -> dict[str, Any]:
        size = token_bytes = 0
        token_folders = tuple(f"vector_storage-{name}" for name in (TOKENS, POOLED))
        for folder, _, names in os.walk(shard.path):
            here = sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for name in names)
            size += here
            if any(part.startswith(token_folders) for part in Path(folder).parts):
                token_bytes += here
        return {
            "points": shard.points,
            "indexed_points": shard.graph_points,
            "segments": shard.segments,
            "disk_bytes": size,
            "token_bytes": token_bytes if shard.spec.token_dimensions else None,
            "optimizing": self.building,
        }

    # ── upkeep ────────────────────────────────────────────────────────────

    def upkeep(self) -> None:
        """Flush now and then, and start a build when there is enough and all is quiet."""
        if self._shard is None:
            return
        now = time.monotonic()
        if self._dirty and now - self._last_flush >= FLUSH_EVERY_S:
            self._last_flush = now
            self._dirty = False
            self._shard.flush()
        if self._optimize_after and not self.building and now - self._last_write >= QUIET_BEFORE_BUILD_S:
            enough = max(self._optimize_after, self._shard.points // _GROWTH)
            if self._shard.state.pending >= enough:
                self.start_build()

    def start_build(self) -> bool:
        """Start building the graph; whether there is anything to build."""
        if self.building:
            return True
        if self.shard.state.pending == 0:
            return False
        self._build = asyncio.create_task(self._rebuild(), name="rebuild")
        self._build.add_done_callback(_log_failure)
        return True

    async def build_finished(self) -> None:
        """Wait for the running build; raises what it raised."""
        if self._build is not None:
            await asyncio.shield(self._build)

    async def copy(self, target: Path) -> None:
        """Copy the shard to a new folder, whole and flushed; searches go on, writes wait."""
        async with self._whole:
            self._writable.clear()
            try:
                self.shard.flush()
                await asyncio.to_thread(copy_shard, self.shard.path, target)
            finally:
                self._writable.set()

    async def _rebuild(self) -> bool:
        async with self._whole:
            return await self._build_and_swap()

    async def _build_and_swap(self) -> bool:
        """Build beside and swap; whether the new shard took over."""
        started = time.monotonic()
        target = self._generations.next()
        self._writable.clear()
        try:
            self._journal = Journal(self._layout.spill)
            source = self.shard.path
            self.shard.flush()
            changed = await build_beside(self._layout.folder, source, target, self._copied)
            self._checkpoint("built")
            if not changed:
                self.shard.state.pending = 0
                return False
            await self._quiet_moment()
            await self._take_over(target)
            await asyncio.to_thread(self._generations.remove, source)
            logger.info("graph built in %.1f s", time.monotonic() - started)
            return True
        finally:
            self._writable.set()
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._generations.current() != target:
                self._generations.remove(target)

    def _copied(self) -> None:
        self._checkpoint("copied")
        self._writable.set()

    async def _quiet_moment(self) -> None:
        """Loading holds everything up for a fraction of a second: do it between searches.

        After five seconds without such a moment it is done all the same.
        """
        for _ in range(100):
            if time.monotonic() - self._last_read >= 0.1:
                return
            await asyncio.sleep(0.05)

    async def _take_over(self, target: Path) -> None:
        if self._journal is None:
            raise CollectionError("a build without a journal cannot take over")
        started = time.monotonic()
        fresh = Shard.load(target, self.spec, self.parameters)
        logger.info("new shard loaded in %.3f s", time.monotonic() - started)
        self._checkpoint("loaded")
        replayed = 0
        try:
            replayed = await replay(self._journal, fresh, self._writable)
            # No await from here to the swap: no write can slip in between.
            fresh.flush()
            self._checkpoint("replayed")
            self._generations.point_to(target)
        except BaseException:
            if self._generations.current() != target:
                fresh.abandon()
                raise
            logger.exception("the pointer moved, but not every step of it succeeded")
        old, self._shard = self.shard, fresh
        self._dirty = False
        self._checkpoint("swapped")
        old.abandon()
        logger.info("shard %s took over, %d writes replayed", target.name, replayed)


def _log_failure(task: asyncio.Task[bool]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the graph was not built: %s", task.exception(), exc_info=task.exception())
