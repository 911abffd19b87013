"""Which sparse hits have no dense vector: the shard knows, while they are not too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexing.collection import without_dense as module
from indexing.collection.edge import Shard
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import GraphSearch
from indexing.identity import id_of_key
from indexing.records import Embedding
from tests.fakes.points import SPEC, embedding, point, point_id

RNG = np.random.default_rng(8)


def without_dense(shard: Shard) -> set[str] | None:
    """What a search says that matches every point's words."""
    every = embedding(RNG, terms=400).sparse
    found = shard.search(
        Embedding(None, every), "default", 100, "sparse", None, False, GraphSearch(64, 0.7), False
    )
    return None if found.without_dense is None else set(map(id_of_key, found.without_dense))


def ids(numbers: range) -> set[str]:
    return {point_id(number) for number in numbers}


def test_they_are_known_after_writes_and_after_opening_again(tmp_path: Path) -> None:
    shard = Shard.create(tmp_path / "s", SPEC, EngineParameters())
    shard.upsert([point(number, RNG, dense=number >= 5) for number in range(20)])
    assert without_dense(shard) == ids(range(5))
    shard.upsert([point(number, RNG, dense=True) for number in range(2)])
    shard.upsert([point(19, RNG, dense=False)])
    shard.delete([point_id(2)])
    expected = ids(range(3, 5)) | {point_id(19)}
    assert without_dense(shard) == expected
    shard.close()
    again = Shard.load(tmp_path / "s", SPEC, EngineParameters())
    assert without_dense(again) == expected
    again.close()


def test_too_many_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    shard = Shard.create(tmp_path / "s", SPEC, EngineParameters())
    shard.upsert([point(number, RNG, dense=False) for number in range(3)])
    assert without_dense(shard) == ids(range(3))
    shard.upsert([point(3, RNG, dense=False)])
    assert without_dense(shard) is None
    shard.close()
    again = Shard.load(tmp_path / "s", SPEC, EngineParameters())
    assert without_dense(again) is None
    again.delete([point_id(0)])
    again.close()
    fewer = Shard.load(tmp_path / "s", SPEC, EngineParameters())
    assert without_dense(fewer) == ids(range(1, 4))
    fewer.close()
