"""SIGKILL at random and at named moments: every acknowledged write is there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import Collection, drop_collection, open_collection
from indexing.collection.address import read_address
from indexing.collection.layout import EngineParameters, Layout, layout_of, write_description
from indexing.errors import CollectionError
from tests.fakes.points import SPEC, point, point_id, settings_in

ROOT = Path(__file__).resolve().parents[2]


def lock_holder(layout: Layout) -> int:
    """The process that holds the engine's lock, from the kernel's own table."""
    inode = layout.lock.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    raise AssertionError("no process holds the engine's lock")


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def command_line(process: int) -> bytes:
    """Empty when the process is gone, or dead and not yet waited for."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def stored_numbers(collection: Collection, limit: int) -> set[int]:
    found = await collection.retrieve([point_id(number) for number in range(limit)], tenant="default")
    by_id = {point_id(number): number for number in range(limit)}
    return {by_id[row.id] for row in found}


def test_killed_during_upserts(tmp_path: Path) -> None:
    """Six rounds of kill -9 while points are written; the client itself reconnects."""
    rng = np.random.default_rng(7)
    settings = settings_in(tmp_path)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        acknowledged: set[int] = set()
        written = 0
        for _ in range(6):
            killer = asyncio.get_running_loop().call_later(
                float(rng.uniform(0.02, 0.3)), os.kill, lock_holder(layout_of(settings)), signal.SIGKILL
            )
            for _ in range(12):
                numbers = range(written, written + 40)
                written += 40
                await collection.upsert([point(number, rng) for number in numbers])
                acknowledged.update(numbers)
            killer.cancel()
            assert await stored_numbers(collection, written) == acknowledged
        assert await collection.count(tenant="default") == len(acknowledged)
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


@contextlib.contextmanager
def engine_that_dies(layout: Layout, at: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.engine_killed", str(layout.folder), at], cwd=ROOT
    )
    try:
        deadline = time.monotonic() + 20
        while read_address(layout) is None:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("at", ["copied", "built", "loaded", "replayed", "swapped"])
def test_killed_during_a_rebuild(tmp_path: Path, at: str) -> None:
    settings = settings_in(tmp_path)
    layout = layout_of(settings)
    write_description(layout, SPEC, EngineParameters())
    rng = np.random.default_rng(11)

    async def run() -> None:
        with engine_that_dies(layout, at) as process:
            collection = await open_collection(settings, SPEC)
            await collection.upsert([point(number, rng) for number in range(150)])
            builder = asyncio.create_task(collection.optimize(wait=True))
            acknowledged, written, deleted = set(range(150)), 150, 0
            # Writes go on until the engine dies; the client then goes on with its successor.
            while process.poll() is None and written < 6000:
                await collection.upsert([point(number, rng) for number in range(written, written + 10)])
                await collection.delete([point_id(deleted)])
                acknowledged.update(range(written, written + 10))
                acknowledged.discard(deleted)
                written, deleted = written + 10, deleted + 1
            assert process.wait(20) == -signal.SIGKILL
            with contextlib.suppress(CollectionError):
                await builder
        assert await stored_numbers(collection, written) == acknowledged
        assert await collection.count(tenant="default") == len(acknowledged)
        # Leftovers are gone and the next build succeeds.
        await collection.optimize(wait=True)
        assert await stored_numbers(collection, written) == acknowledged
        shards = sorted(path.name for path in layout.shards.iterdir() if path.is_dir())
        assert shards == [layout.pointer.read_text().strip()]
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_the_builder_dies_with_the_engine(tmp_path: Path) -> None:
    """A killed engine leaves no process behind that goes on writing to its folder."""
    settings = settings_in(tmp_path)
    rng = np.random.default_rng(13)

    async def run() -> None:
        collection = await open_collection(settings, SPEC)
        for start in range(0, 6000, 1000):
            await collection.upsert([point(number, rng) for number in range(start, start + 1000)])
        assert await collection.optimize()
        engine = lock_holder(layout_of(settings))
        deadline = time.monotonic() + 20
        while not (children := children_of(engine)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        os.kill(engine, signal.SIGKILL)
        while any(command_line(child) for child in children):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert await collection.count(tenant="default") == 6000
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())
