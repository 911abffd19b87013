"""Recover what can be read of a damaged embedded collection.

The damaged folder is kept aside, never changed.  What loads is written anew,
point by point, into a fresh shard: the whole folder if it opens, else without
its write-ahead log, else one segment after the other.  Reading happens in child
processes, since a damaged file can take the reading process down with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from indexing.collection.engine_control import exclusive
from indexing.collection.generations import Generations, copy_tree
from indexing.collection.launch import child_environment
from indexing.collection.layout import Layout, layout_of, read_description
from indexing.collection.shard_state import ShardState, state_path
from indexing.errors import CollectionError, DamagedShardError
from indexing.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RepairSource:
    """One attempt to read: what, how many points it gave, and what went wrong."""

    name: str
    points: int
    error: str


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did.

    Attributes:
        damaged: False when the shard was sound and nothing was changed.
        recovered: points in the collection now.
        complete: nothing was found missing; otherwise documents of the
            catalogue whose points are not there must be indexed again.
        kept_in: where the damaged files lie; None when nothing was damaged.
        sources: every attempt, in order.
    """

    damaged: bool
    recovered: int
    complete: bool
    kept_in: Path | None
    sources: tuple[RepairSource, ...]


async def repair(settings: Settings) -> RepairReport:
    """Repair the embedded collection of these settings.

    Stops a running engine process first; writes in the meantime wait or fail.

    Raises:
        CollectionError: there is no embedded collection here.
        DamagedShardError: its description is damaged too: build it anew.
    """
    layout = layout_of(settings)
    read_description(layout)
    async with exclusive(layout):
        return await _Repair(layout).run()


class _Repair:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._generations = Generations(layout)
        self._work = layout.shards / "salvage"
        self._target = layout.shards / "salvaged"
        self._sources: list[RepairSource] = []

    async def run(self) -> RepairReport:
        for leftover in (self._work, self._target):
            self._generations.remove(leftover)
        folders, others = self._folders()
        complete = False
        for folder in folders:
            sound = await self._salvage_folder(folder)
            complete = sound and len(folders) == 1
        if complete and not others and self._sources[-1].name.endswith("as it is"):
            self._generations.remove(self._target)
            return RepairReport(False, self._sources[-1].points, True, None, tuple(self._sources))
        recovered = await self._finish_target()
        fresh = self._generations.next()
        self._target.rename(fresh)
        state_path(self._target).rename(state_path(fresh))
        self._generations.point_to(fresh)
        kept = self._keep_aside(folders)
        return RepairReport(True, recovered, complete, kept, tuple(self._sources))

    def _folders(self) -> tuple[list[Path], bool]:
        """Shard folders to read, the one that counts last; and whether the pointer was damaged."""
        numbered = sorted(
            path for path in self._layout.shards.glob("*") if path.name.isdigit() and path.is_dir()
        )
        try:
            current = self._generations.current()
        except DamagedShardError:
            return numbered, True
        return ([] if current is None else [current]), False

    async def _salvage_folder(self, folder: Path) -> bool:
        """Read one shard folder by ever smaller parts until one is sound."""
        expected = ShardState.read(folder).closed_points
        for name, with_log in (("as it is", True), ("without its log", False)):
            self._generations.remove(self._work)
            await asyncio.to_thread(copy_tree, folder, self._work)
            if not with_log:
                shutil.rmtree(self._work / "wal", ignore_errors=True)
            if self._drop_damaged_config():
                name += ", its configuration derived"
            source = await self._read(f"{folder.name} {name}")
            # Without the log, writes since the last flush are missing: it is not complete.
            if not source.error and (expected is None or source.points == expected):
                return with_log or expected is not None
        for segment in sorted((folder / "segments").glob("*")):
            self._generations.remove(self._work)
            await asyncio.to_thread(copy_tree, segment, self._work / "segments" / segment.name)
            version = self._work / "segments" / segment.name / "version.info"
            if not version.exists():
                version.write_text(_segment_version(folder), encoding="utf-8")
            await self._read(f"{folder.name} segment {segment.name}")
        self._generations.remove(self._work)
        return False

    def _drop_damaged_config(self) -> bool:
        """The engine derives its configuration from the segments when the file is absent."""
        config = self._work / "edge_config.json"
        try:
            json.loads(config.read_bytes())
        except (OSError, ValueError):
            config.unlink(missing_ok=True)
            return True
        return False

    async def _read(self, name: str) -> RepairSource:
        """Copy the points of the work folder to the target, in a child process."""
        points, error = await _salvage_child(self._layout.folder, self._work, self._target)
        source = RepairSource(name, points, error)
        logger.info("repair: %s gave %d points %s", name, points, error)
        self._sources.append(source)
        return source

    async def _finish_target(self) -> int:
        """Create the target when nothing was read, and count what it holds."""
        points, error = await _salvage_child(self._layout.folder, self._target, self._target)
        if error:
            raise CollectionError(f"the recovered points cannot be written: {error}")
        return points

    def _keep_aside(self, folders: list[Path]) -> Path:
        kept = self._layout.damaged / time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        kept.mkdir(parents=True)
        for folder in folders:
            shutil.move(folder, kept / folder.name)
            state_path(folder).unlink(missing_ok=True)
        self._generations.remove(self._work)
        return kept


async def _salvage_child(home: Path, source: Path, target: Path) -> tuple[int, str]:
    """Points copied, and what went wrong ("" when nothing did)."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "indexing.collection.salvage",
        str(home),
        str(source),
        str(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=child_environment(),
    )
    output, _ = await child.communicate()
    try:
        body = json.loads(output)
        return int(body["points"]), str(body["error"])
    except (ValueError, KeyError):
        return 0, f"reading it ended the process with status {child.returncode}"


def _segment_version(folder: Path) -> str:
    """The version file of a sibling; every segment of a shard has the same."""
    for path in sorted((folder / "segments").glob("*/version.info")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            return text
    return "0.6.0"
