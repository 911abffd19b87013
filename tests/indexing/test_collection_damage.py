"""A damaged shard names the repair command, and the repair brings back what can be read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import drop_collection, open_collection
from indexing.collection.engine_control import exclusive
from indexing.collection.layout import layout_of
from indexing.collection.repair import repair
from indexing.errors import CollectionError, DamagedShardError
from indexing.settings import Settings
from tests.fakes.points import SPEC, embedding, point, settings_in

POINTS = 300


async def filled(settings: Settings, *, built: bool) -> None:
    """A closed collection of 300 points, most of them in the graph when ``built``."""
    rng = np.random.default_rng(5)
    collection = await open_collection(settings, SPEC)
    await collection.upsert([point(number, rng) for number in range(250)])
    if built:
        assert await collection.optimize(wait=True)
    await collection.upsert([point(number, rng) for number in range(250, POINTS)])
    await collection.close()
    async with exclusive(layout_of(settings)):
        pass


def damage(settings: Settings, pattern: str, how: str) -> None:
    paths = sorted((settings.home / "collections" / "winnow" / "shards").glob(pattern))
    assert paths, pattern
    for path in paths if how == "remove" else paths[:1]:
        if how == "remove":
            path.unlink()
        elif how == "truncate":
            os.truncate(path, path.stat().st_size // 3)
        else:
            with open(path, "r+b") as file:
                file.write(bytes(range(256)) * 16)


@pytest.mark.parametrize(
    ("damages", "built", "at_least"),
    [
        ([("*/wal/open-1", "garble")], False, POINTS),
        ([("*/segments/*/id_tracker.mappings", "truncate")], True, 50),
        ([("*/segments/*/version.info", "remove")], True, POINTS),
        ([("*/edge_config.json", "truncate"), ("../CURRENT", "garble")], False, POINTS),
    ],
    ids=["log", "segment", "version", "configuration"],
)
def test_repair(tmp_path: Path, damages: list[tuple[str, str]], built: bool, at_least: int) -> None:
    settings = settings_in(tmp_path)
    rng = np.random.default_rng(6)

    async def run() -> None:
        await filled(settings, built=built)
        for pattern, how in damages:
            damage(settings, pattern, how)
        collection = await open_collection(settings, None)
        for call in (
            collection.count(tenant="default"),
            collection.search(embedding(rng), tenant="default", top_k=3),
            collection.upsert([point(1, rng)]),
            collection.info(),
        ):
            with pytest.raises(DamagedShardError, match="python -m indexing repair"):
                await call
        report = await repair(settings)
        assert report.damaged
        assert at_least <= report.recovered <= POINTS, report
        assert report.kept_in is None or any(report.kept_in.iterdir())
        # The same client goes on: its engine was restarted.
        assert await collection.count(tenant="default") == report.recovered
        await collection.upsert([point(number, rng) for number in range(POINTS)])
        assert await collection.count(tenant="default") == POINTS
        assert len((await collection.search(embedding(rng), tenant="default", top_k=9)).dense) == 9
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_a_sound_collection_is_left_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    async def run() -> None:
        await filled(settings, built=False)
        report = await repair(settings)
        assert (report.damaged, report.recovered, report.kept_in) == (False, POINTS, None)
        collection = await open_collection(settings, None)
        assert await collection.count(tenant="default") == POINTS
        await collection.close()
        await drop_collection(settings)

    asyncio.run(run())


def test_no_collection_to_repair(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="python -m indexing PATH"):
        asyncio.run(repair(settings_in(tmp_path)))


def test_a_damaged_description_names_the_command(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    layout = layout_of(settings)
    layout.folder.mkdir(parents=True)
    layout.description.write_text('{"format": 1, "spec"')
    with pytest.raises(DamagedShardError, match="python -m indexing reindex"):
        asyncio.run(open_collection(settings, SPEC))
